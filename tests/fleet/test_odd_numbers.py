"""A number or an epoch that no device has is refused by its field's name, and hurts neither host nor next report."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.report import Presence
from edgelift_fleet.testing import SimulatedDevice
from tests.fleet.conftest import Server

pytestmark = pytest.mark.fleet

NUMBERS = [-1, 2**53 + 1, 2**63, 2**64, 10**40]
IN_REPORT = [
    "sequence", "revision_seen", "revision_applied", "slots.digits.generation", "slots.digits.update.revision",
    "slots.digits.update.requests", "slots.digits.update.fetched_bytes", "facts.memory_bytes",
]  # fmt: skip
IN_ITEM = ["seq", "window.generation", "window.ok", "window.errors", "window.latency_us.total.zeros"]
EPOCHS = ["", "\0", "a b", "ü", "x" * 129]


@pytest.fixture(scope="module")
def server(idle_site: Path) -> Iterator[Server]:
    with Server(idle_site, "--broker", "none") as made:
        yield made


def report(path: str = "sequence", value: Any = 1) -> dict[str, Any]:
    """A report in which the field at `path` is `value`."""
    update = {"artifact": "a" * 64, "outcome": "committed"}
    made: dict[str, Any] = {
        "schema": 1, "device": "odd", "epoch": "boot-1", "sequence": 1, "at": 1.0, "agent_version": "x",
        "slots": {"digits": {"state": "serving", "update": update}}, "facts": {"hardware_class": "x86-64-avx2"},
    }  # fmt: skip
    return _with(made, path, value)


def item(path: str, value: Any) -> dict[str, Any]:
    """A telemetry item in which the field at `path` is `value`."""
    window = {
        "start": 1.0, "end": 2.0, "slot": "digits", "generation": 1, "artifact": "a" * 64, "model": "m",
        "version": "1", "latency_us": {"total": {}},
    }  # fmt: skip
    return _with({"seq": 1, "window": window}, path, value)


def _with(made: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *folders, name = path.split(".")
    at = made
    for folder in folders:
        at = at[folder]
    at[name] = value
    return made


def test_a_number_or_epoch_that_no_device_has_is_refused_by_name(server: Server) -> None:
    SimulatedDevice(server.url, server.token, "odd").enrol()
    url = f"{server.url}/v1/devices/odd"
    headers = {"Authorization": f"Bearer {server.token}"}
    for path, value in [*((p, n) for p in IN_REPORT for n in NUMBERS), *(("epoch", e) for e in EPOCHS)]:
        answer = requests.put(f"{url}/report", json=report(path, value), headers=headers, timeout=60)
        _is_refused(answer, path, value)
    for path in IN_ITEM:
        for value in NUMBERS:
            batch = {"schema": 1, "device": "odd", "epoch": "outbox-1", "items": [item(path, value)]}
            _is_refused(requests.post(f"{url}/telemetry", json=batch, headers=headers, timeout=60), path, value)
    largest = report("sequence", 2**53)
    assert requests.put(f"{url}/report", json=largest, headers=headers, timeout=60).json()["news"] is True


def _is_refused(answer: requests.Response, path: str, value: Any) -> None:
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), (path, value, answer.text)
    assert path.rpartition(".")[2] in answer.json()["error"], (path, value, answer.text)


@pytest.mark.parametrize(("field", "value"), [("connect", -1), ("connect", 2**63), ("epoch", "\0")])
def test_a_presence_that_no_device_has(field: str, value: Any) -> None:
    word = {"schema": 1, "device": "odd", "online": True, "epoch": "boot-1", "connect": 1, field: value}
    with pytest.raises(ContractError, match=field):
        codec.decode_json(json.dumps(word).encode(), Presence, what="presence")
