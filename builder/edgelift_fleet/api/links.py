"""Where an answer leads: OpenAPI's links, by which tools (and our fuzzing) go from one call to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Link(NamedTuple):
    """From the answer 200 of one operation to another.

    Attributes:
        source, target: operation ids.
        parameters: the target's, as runtime expressions of OpenAPI or as they are.
        body: the target's, alike; None for none.
    """

    source: str
    target: str
    parameters: Mapping[str, str]
    body: Any = None


_DEVICE = {"device": "$response.body#/device"}
_ROLLOUT = {"rollout": "$response.body#/id"}
_REPORT = {
    "schema": 1, "device": "$request.path.device", "epoch": "boot-1", "sequence": 1, "at": 1760000000.0,
    "agent_version": "0.1.0",
}  # fmt: skip

LINKS: tuple[Link, ...] = (
    Link("post_enroll", "get_devices_desired", _DEVICE),
    *(Link("post_enroll", name, _DEVICE) for name in ("device", "assign", "tags", "sample", "gauges_of", "mend")),
    Link("post_enroll", "put_devices_report", _DEVICE, {**_REPORT, "device": "$response.body#/device"}),
    Link("post_enroll", "post_devices_telemetry", _DEVICE),
    Link("get_devices_desired", "put_devices_report", {"device": "$request.path.device"}, _REPORT),
    Link("put_devices_report", "device", _DEVICE),
    Link("put_devices_report", "post_devices_telemetry", _DEVICE),
    Link("post_devices_telemetry", "device", _DEVICE),
    Link("post_devices_telemetry", "gauges_of", _DEVICE),
    *(
        Link("devices", name, {"device": "$response.body#/0/device"})
        for name in ("device", "assign", "tags", "get_devices_desired")
    ),
    Link("assign", "get_devices_desired", _DEVICE),
    Link("assign", "clear", {**_DEVICE, "slot": "$response.body#/slot"}),
    Link("mend", "device", _DEVICE),
    Link("start", "rollout", _ROLLOUT),
    *(
        Link("start", "command", {**_ROLLOUT, "command": name}, {})
        for name in ("pause", "resume", "approve", "cancel", "rollback")
    ),
    *(Link("command", "command", {**_ROLLOUT, "command": name}, {}) for name in ("pause", "resume", "rollback")),
    Link("command", "rollout", _ROLLOUT),
    Link("rollouts", "rollout", {"rollout": "$response.body#/0/id"}),
    *(
        Link("rollouts", "command", {"rollout": "$response.body#/0/id", "command": name}, {})
        for name in ("pause", "resume", "approve", "cancel", "rollback")
    ),
)


def links_from(source: str) -> dict[str, dict[str, Any]]:
    """Name → link, as they stand at an operation's answer."""
    return dict(_drawn(link) for link in LINKS if link.source == source)


def _drawn(link: Link) -> tuple[str, dict[str, Any]]:
    name = "-".join([link.target, *(v for v in link.parameters.values() if not v.startswith("$"))])
    made: dict[str, Any] = {"operationId": link.target, "parameters": dict(link.parameters)}
    return name, made if link.body is None else {**made, "requestBody": link.body}


def linked() -> Iterator[str]:
    """Every operation that is named here."""
    for link in LINKS:
        yield from (link.source, link.target)
