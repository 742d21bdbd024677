"""Where an answer leads: OpenAPI's links, by which tools (and our fuzzing) go from one call to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Onward(NamedTuple):
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
_RELEASE = {"name": "$response.body#/0/model", "version": "$response.body#/0/version"}
_SAME_RELEASE = {"name": "$request.path.name", "version": "$request.path.version"}
_FIRST_RELEASE = "{$response.body#/0/model}@{$response.body#/0/version}"
_REPORT = {
    "schema": 1, "device": "$request.path.device", "epoch": "boot-1", "sequence": 1, "at": 1760000000.0,
    "agent_version": "0.1.0",
}  # fmt: skip

LINKS: tuple[Onward, ...] = (
    Onward("post_enroll", "get_devices_desired", _DEVICE),
    *(
        Onward("post_enroll", name, _DEVICE)
        for name in ("device", "assign", "tags", "sample", "gauges_of", "mend")
    ),
    Onward("post_enroll", "put_devices_report", _DEVICE, {**_REPORT, "device": "$response.body#/device"}),
    Onward("post_enroll", "post_devices_telemetry", _DEVICE),
    Onward("get_devices_desired", "put_devices_report", {"device": "$request.path.device"}, _REPORT),
    Onward("put_devices_report", "device", _DEVICE),
    Onward("put_devices_report", "post_devices_telemetry", _DEVICE),
    Onward("post_devices_telemetry", "device", _DEVICE),
    Onward("post_devices_telemetry", "gauges_of", _DEVICE),
    *(
        Onward("devices", name, {"device": "$response.body#/0/device"})
        for name in ("device", "assign", "tags", "get_devices_desired")
    ),
    *(
        Onward("releases", name, _RELEASE)
        for name in ("release", "retire_release", "unretire_release", "delete_release")
    ),
    Onward("releases", "start", {}, {"release": _FIRST_RELEASE, "to": "all", "waves": ["1", "100%"]}),
    Onward("releases", "preview", {}, {"release": _FIRST_RELEASE, "to": "all", "waves": ["1", "100%"]}),
    Onward("releases", "assign_all", {}, {"release": _FIRST_RELEASE, "to": "all"}),
    Onward("publish", "release", {"name": "$request.body#/model", "version": "$request.body#/version"}),
    Onward("retire_release", "unretire_release", _SAME_RELEASE),
    Onward("assign", "get_devices_desired", _DEVICE),
    Onward("assign", "clear", {**_DEVICE, "slot": "$response.body#/slot"}),
    Onward("mend", "device", _DEVICE),
    Onward("start", "rollout", _ROLLOUT),
    *(
        Onward("start", "command", {**_ROLLOUT, "command": name}, {})
        for name in ("pause", "resume", "approve", "cancel", "rollback")
    ),
    *(Onward("command", "command", {**_ROLLOUT, "command": name}, {}) for name in ("pause", "resume", "rollback")),
    Onward("command", "rollout", _ROLLOUT),
    Onward("rollouts", "rollout", {"rollout": "$response.body#/0/id"}),
    *(
        Onward("rollouts", "command", {"rollout": "$response.body#/0/id", "command": name}, {})
        for name in ("pause", "resume", "approve", "cancel", "rollback")
    ),
)


def links_from(source: str) -> dict[str, dict[str, Any]]:
    """Name → link, as they stand at an operation's answer."""
    return dict(_drawn(link) for link in LINKS if link.source == source)


def _drawn(link: Onward) -> tuple[str, dict[str, Any]]:
    name = "-".join([link.target, *(v for v in link.parameters.values() if not v.startswith("$"))])
    made: dict[str, Any] = {"operationId": link.target, "parameters": dict(link.parameters)}
    return name, made if link.body is None else {**made, "requestBody": link.body}


def linked() -> Iterator[str]:
    """Every operation that is named here."""
    for link in LINKS:
        yield from (link.source, link.target)
