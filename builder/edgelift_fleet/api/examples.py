"""An example of each message that is sent to the API, for the OpenAPI document; each can be read as its message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CLASS = "arm64-neon"
_ARTIFACT = "9f" * 32
_AT = 1760000000.0

_REPORT: dict[str, Any] = {
    "schema": 1, "device": "pi-1", "epoch": "boot-1", "sequence": 7, "at": _AT, "agent_version": "0.1.0",
    "revision_seen": 3, "revision_applied": 3, "tags": {"demo": ""},
    "slots": {
        "digits": {
            "state": "serving", "generation": 2, "artifact": _ARTIFACT, "model": "digits", "version": "2",
            "since": _AT, "update": {
                "artifact": _ARTIFACT, "model": "digits", "version": "2", "revision": 3, "rollout": "r1",
                "outcome": "committed", "requests": 412, "fetched_bytes": 41_000, "finished_at": _AT,
            },
        },
    },
}  # fmt: skip

_WINDOW: dict[str, Any] = {
    "start": _AT, "end": _AT + 60, "slot": "digits", "generation": 2, "artifact": _ARTIFACT, "model": "digits",
    "version": "2", "ok": 412, "errors": 1,
}  # fmt: skip

_BATCH: dict[str, Any] = {
    "schema": 1, "device": "pi-1", "epoch": "outbox-1",
    "items": [
        {"seq": 1, "window": _WINDOW},
        {"seq": 2, "gauges": {"start": _AT, "end": _AT + 60, "values": {"soc_temp_c": 61.5}}},
        {"seq": 3, "event": {"at": _AT, "kind": "agent-started"}},
    ],
}  # fmt: skip

_RELEASE: dict[str, Any] = {
    "schema": 1, "model": "digits", "version": "2", "release_counter": 2,
    "artifacts": [
        {
            "id": _ARTIFACT, "manifest_bytes": 1500, "hardware_class": _CLASS, "targets": ["pi5"], "runtime": "onnxruntime",
            "format": "onnx", "variant": "int8", "rank": 0, "size_bytes": 41_000,
        },
    ],
}  # fmt: skip

#: message type → an example of it.
EXAMPLES: Mapping[str, Any] = {
    "BundleRequest": {"why": "Slow since noon.", "wait_s": 86400},
    "TellRequest": {"devices": ["pi-1"]},
    "Release": _RELEASE,
    "RetireRequest": {"why": "Its classes were mixed up."},
    "EnrolRequest": {
        "schema": 1, "device": "pi-1", "tags": {"demo": ""},
        "facts": {"hardware_class": _CLASS, "accepts": [_CLASS], "runtimes": {"onnxruntime": "1.30.0"}, "cores": 4},
    },
    "Report": _REPORT,
    "Batch": _BATCH,
    "AssignRequest": {"release": "digits@2", "policy": {"probation_s": 300, "probation_min_requests": 20}},
    "AssignManyRequest": {"release": "digits@2", "to": "tag:lab"},
    "DeviceSearch": {"to": "ids:pi-1,pi-2", "class": "arm64-*", "failing": False},
    "ExportRequest": {"days": 14},
    "TagsRequest": {"set": {"site": "barn"}, "remove": []},
    "SampleRequest": {"for_s": 600},
    "RolloutRequest": {
        "release": "digits@2", "to": "tag:demo", "waves": ["1", "25%", "100%"], "soak_s": 60, "max_failures": 0,
    },
    "ImageRoles": {"roles": {"targets": "{}"}},
    "TokenRequest": {"uses": 20, "days": 7, "tags": {"site": "hall-2"}},
    "LoginRequest": {"name": "maria", "password": "correct horse battery staple"},
    "PersonRequest": {"name": "maria", "role": "operator", "password": "correct horse battery staple"},
    "PasswordRequest": {"password": "correct horse battery staple"},
    "OwnPasswordRequest": {"old": "ten or more of them", "password": "correct horse battery staple"},
    "RoleRequest": {"role": "viewer"},
    "AccessRequest": {"role": "viewer", "days": 90, "note": "the dashboard in hall 2"},
    "SilenceRequest": {"code": "offline", "for_s": 7200, "to": "tag:barn", "why": "The barn is rewired."},
    "RolloutOrder": {"why": "The night shift asked for it."},
}  # fmt: skip
