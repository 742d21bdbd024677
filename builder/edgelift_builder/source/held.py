"""What the child process holds between calls: the source, the modules that steps made of it.

Module state, because calls into a child are functions and a process holds one source.
"""

from __future__ import annotations

from typing import Any

from edgelift_builder import calls, data
from edgelift_builder.source.given import Source

#: The one source of this process, once `load_source` has run.
_current: list[Source] = []

#: One call of its model, with the sample axes of its inputs.
_example: list[tuple[data.DataSet, calls.Axes]] = []

#: What steps made of its model: handle → module.
_modules: dict[str, Any] = {}


def hold(source: Source) -> None:
    """Keep the source of this process."""
    _current[:] = [source]


def current() -> Source:
    """The source that this child process holds."""
    return _current[0]


def keep_example(call: data.DataSet, axes: calls.Axes) -> None:
    """Keep one call of the model, an array for each parameter, and the sample axes of its inputs."""
    _example[:] = [(call, axes)]


def example() -> tuple[data.DataSet, calls.Axes]:
    """What `keep_example` kept."""
    return _example[0]


def module(handle: str) -> Any:
    """The module a step left under `handle`; the source's own model for the empty one."""
    return _modules[handle] if handle else current().model


def keep_module(handle: str, made: Any) -> None:
    """Keep a step's module for the steps after it."""
    _modules[handle] = made
