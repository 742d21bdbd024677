"""An update as spans of one trace: what the control plane did and what the device did, below one root."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from edgelift_contract import __version__
from edgelift_fleet.otlp.placing import UpdateInTime, place
from edgelift_fleet.untold import EndedUpdate

#: The control plane and the agent, as receivers know them.
FLEET, AGENT = "edgelift-fleet", "edgelift-agent"
#: Phase → its span's name: what had come to pass at its end.
_NAMES = {
    "fetching": "fetched", "verifying": "verified", "staging": "staged", "preflight": "preflight",
    "swapping": "swapped", "observing": "observed", "rolling-back": "rolled-back", "committing": "committed",
    "reporting": "reported",
}  # fmt: skip
_FAILED = frozenset({"refused", "rolled-back", "inconsistent"})
_SCOPE = InstrumentationScope("edgelift", __version__)

_Attributes = dict[str, str | int | float | bool]


def fleet_resource(site: str) -> Resource:
    """Who the control plane of a site is; with what $OTEL_RESOURCE_ATTRIBUTES says."""
    named = {"service.name": FLEET, "service.namespace": site, "service.instance.id": site}
    return Resource.create({**named, "service.version": __version__})


def spans_of(ended: EndedUpdate, fleet: Resource) -> list[ReadableSpan]:
    """The trace of an update, the root first.

    The same update gives the same spans with the same ids, however often it is asked and by whichever server.
    """
    return _Trace(ended, fleet).spans()


class _Trace:
    """What the spans of one update share."""

    def __init__(self, ended: EndedUpdate, fleet: Resource) -> None:
        self._ended, self._fleet, self._placed = ended, fleet, place(ended)
        update = ended.update
        named = (
            fleet.attributes.get("service.namespace", ""), ended.device, ended.slot, update.revision, update.artifact,
            update.rollout, update.attempts, ended.assigned_at,
        )  # fmt: skip
        self._seed = hashlib.sha256(repr(named).encode()).digest()
        self._root = self._context("update")
        self._agent = fleet.merge(
            Resource({
                "service.name": AGENT, "service.instance.id": ended.device, "device.id": ended.device,
                "service.version": ended.agent_version,
            })
        )  # fmt: skip

    def spans(self) -> list[ReadableSpan]:
        """All of them."""
        placed, failed_in = self._placed, self._failed_in()
        found = [self._span("update", None, self._fleet, placed.start, placed.end, self._said(), failed=True)]
        if placed.begun > placed.start or not placed.steps:
            found.append(self._span("assigned", self._root, self._fleet, placed.start, placed.begun, {}))
        if not placed.steps:
            found.append(
                self._span("carried-out", self._root, self._agent, placed.begun, placed.end, {}, failed=True)
            )
        for phase, start, end in placed.steps:
            found.append(
                self._span(
                    _NAMES[phase], self._root, self._agent, start, end, self._of(phase), failed=phase == failed_in
                )
            )
        return found

    def _failed_in(self) -> str:
        return self._ended.update.phase if self._ended.update.outcome in _FAILED else ""

    def _span(
        self, name: str, parent: SpanContext | None, resource: Resource, start: float, end: float,
        attributes: _Attributes, *, failed: bool = False,
    ) -> ReadableSpan:  # fmt: skip
        update = self._ended.update
        wrong = failed and update.outcome in _FAILED
        return ReadableSpan(
            name,
            self._root if parent is None else self._context(name),
            parent,
            resource,
            {**attributes, "error.type": update.code} if wrong and update.code else attributes,
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, update.message or update.outcome)
            if wrong
            else Status(StatusCode.UNSET),
            start_time=_nanoseconds(start),
            end_time=_nanoseconds(end),
            instrumentation_scope=_SCOPE,
        )

    def _context(self, name: str) -> SpanContext:
        """Ids that are the same each time; none is zero but once in 2^64."""
        own = hashlib.sha256(self._seed + name.encode()).digest()
        trace_id, span_id = int.from_bytes(self._seed[:16], "big"), int.from_bytes(own[:8], "big")
        return SpanContext(
            trace_id or 1, span_id or 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )

    def _said(self) -> _Attributes:
        """What is said of the whole."""
        ended, update, placed = self._ended, self._ended.update, self._placed
        said: _Attributes = {
            "edgelift.device": ended.device, "edgelift.slot": ended.slot, "edgelift.model": update.model,
            "edgelift.version": update.version, "edgelift.artifact": update.artifact,
            "edgelift.revision": update.revision, "edgelift.outcome": update.outcome, "edgelift.try": update.attempts,
        }  # fmt: skip
        for name, text in (("rollout", update.rollout), ("code", update.code)):
            if text:
                said[f"edgelift.{name}"] = text
        return said | _moved(placed)

    def _of(self, phase: str) -> _Attributes:
        update = self._ended.update
        if phase == "fetching":
            return {"edgelift.fetched_bytes": update.fetched_bytes}
        if phase == "observing":
            return {"edgelift.requests": update.requests, "edgelift.errors": update.errors}
        return {}


def _moved(placed: UpdateInTime) -> _Attributes:
    """What was done to the device's times."""
    said: _Attributes = {}
    if placed.moved_s:
        said["edgelift.clock_moved_s"] = round(placed.moved_s, 3)
    if placed.squeezed:
        said["edgelift.squeezed"] = True
    return said


def all_spans(updates: Sequence[EndedUpdate], fleet: Resource) -> list[ReadableSpan]:
    """The traces of several."""
    return [span for one in updates for span in spans_of(one, fleet)]


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
