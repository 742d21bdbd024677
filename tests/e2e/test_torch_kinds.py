"""Modules, TorchScript and `torch.export` archives of every kind, from a source to a device: built in the formats that they
can become, published, preflighted, served and asked over HTTP.

One agent serves all; what it answers is held against the module that was given, called by torch alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from tests.builder import test_own_quantised_torch as quantised
from tests.e2e import odd_sources
from tests.e2e.serving import Given, asked, described, served
from tests.simulators.device import Device

pytest.importorskip("tritonclient.http", reason="only in the developer's environment")
pytestmark = [
    pytest.mark.fleet, pytest.mark.builder, pytest.mark.onnx, pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]  # fmt: skip

#: Functions of `odd_sources`, and the formats that are served of each.
SOURCES = {
    "named": ("tflite", "torchscript"),
    "pixels": ("tflite",),
    "state": ("tflite",),
    "numbers": ("torchscript",),
    "row": ("torchscript",),
    "keyed": ("onnx",),
    "chosen": ("onnx",),
    "double": ("tflite",),
    "half": ("onnx",),
    "branching": ("torchscript",),
    "waves": ("torchscript",),
}
SLOTS = [(name, format_name) for name, formats in SOURCES.items() for format_name in formats]

#: Torch's own files that came in 8 bits: how each is written, and the format that a device is given.
FILES = {"script": "torchscript", "archive": "onnx"}


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    folder = tmp_path_factory.mktemp("odd")
    given = {f"{n}-{f}": Given(f"{odd_sources.__file__}:{n}", f) for n, f in SLOTS}
    torch.jit.script(quantised.dynamic()).save(str(folder / "script.pt"))
    torch.export.save(quantised.decomposed(), folder / "archive.pt2")
    for file, name in (("script.pt", "input"), ("archive.pt2", "x")):
        np.savez(folder / f"{file}.npz", **{name: quantised.X.numpy()})
        given[file.partition(".")[0]] = Given(folder / file, data=folder / f"{file}.npz")
    with served(given, folder) as device:
        yield device


@pytest.mark.parametrize(("name", "format_name"), SLOTS)
def test_a_device_answers_as_the_module_does(name: str, format_name: str, device: Device) -> None:
    source, slot = getattr(odd_sources, name)(), f"{name}-{format_name}"
    taken, _ = described(device, slot)
    samples = dict(zip(taken, _listed(source.evaluation_inputs), strict=True))
    free = format_name != "tflite" and name not in ("numbers", "branching", "waves")
    for first, count in ((0, 1), (odd_sources.COUNT - 1, 1), (3, 4 if free else 1)):
        call = {n: _some(a, first, count, taken[n]) for n, a in samples.items()}
        _same(asked(device, slot, call), _answer(source.model, call), name)


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "half"])  # tritonclient has no JSON for it
def test_it_does_so_in_json(name: str, device: Device) -> None:
    source, slot = getattr(odd_sources, name)(), f"{name}-{SOURCES[name][0]}"
    taken, _ = described(device, slot)
    samples = dict(zip(taken, _listed(source.evaluation_inputs), strict=True))
    call = {n: _some(a, 5, 1, taken[n]) for n, a in samples.items()}
    _same(asked(device, slot, call, binary=False), _answer(source.model, call), name)


@pytest.mark.parametrize("file", FILES)
def test_what_came_in_8_bits_answers_as_it_did(file: str, device: Device) -> None:
    torch.manual_seed(0)
    model = quantised.dynamic() if file == "script" else quantised.decomposed().module()
    taken, _ = described(device, file)
    for x in np.random.default_rng(9).normal(size=(10, 1, 32)).astype(np.float32):
        with torch.no_grad():
            wanted = model(torch.from_numpy(x)).numpy()
        (found,) = asked(device, file, {next(iter(taken)): x}).values()
        np.testing.assert_allclose(found, wanted, atol=np.ptp(wanted) / 100)


def _listed(inputs: Any) -> list[Any]:
    """A source's arrays in forward's order; what comes in several lengths is a list of one array each."""
    if isinstance(inputs, Mapping):
        return list(inputs.values())
    return list(inputs) if isinstance(inputs, tuple) else [inputs]


def _some(samples: Any, first: int, count: int, described: Mapping[str, Any]) -> Any:
    """Some samples as one call: of an input that counts none it is one sample."""
    if isinstance(samples, list):
        return samples[first][None]
    if samples.ndim > len(described["shape"]):
        return samples[first]
    axis = 1 if described["name"] == "state" else 0
    return np.take(samples, range(first, min(first + count, samples.shape[axis])), axis)


def _answer(model: Any, call: Mapping[str, Any]) -> list[Any]:
    """What the module says: what has no name of its own in forward is given by position."""
    tensors = {name: torch.from_numpy(array) for name, array in call.items()}
    listed = [tensor for name, tensor in tensors.items() if name.startswith("input")]
    with torch.no_grad():
        answer = model(*listed, **{n: t for n, t in tensors.items() if not n.startswith("input")})
    return list(_leaves(answer))


def _leaves(answer: Any) -> Iterator[Any]:
    if isinstance(answer, torch.Tensor):
        yield answer.numpy()
    elif answer is not None:
        held = [getattr(answer, f.name) for f in fields(answer)] if is_dataclass(answer) else answer
        for part in held.values() if isinstance(held, Mapping) else held:
            yield from _leaves(part)


NAMES = {"named": ["heads_logits", "heads_states_0", "heads_states_1", "output_3"], "keyed": ["a.b/c:0"]}


def _same(found: dict[str, Any], expected: list[Any], name: str) -> None:
    assert list(found) == NAMES.get(name, [f"output_{k}" for k in range(len(expected))])
    for got, want in zip(found.values(), expected, strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-2 if name == "half" else 1e-4, atol=1e-5)
