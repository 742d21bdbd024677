"""What spoilt messages found once, in short: each as small as it can be."""

from pathlib import Path

import pytest
import requests

from edgelift_agent.config import load_config
from edgelift_contract import codec
from edgelift_contract.assignment import parse_assignment
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_fleet import client
from edgelift_fleet.client import Client, read_answer
from edgelift_fleet.mqtt.messaging import parse_broker
from edgelift_fleet.selector import MAX_LENGTH, parse_selector
from edgelift_fleet.simulate.profile import load_profile
from edgelift_fleet.site import load_site
from tests.attacks.false_host import FalseHost

pytestmark = pytest.mark.fleet


def test_an_assignment_with_a_number_that_nobody_can_hold_in_a_field_that_nobody_knows() -> None:
    """It was read, and what noted it in its one form then fell over: over MQTT, on the client's own thread."""
    data = b'{"device":"pi-1","new":1e999,"revision":1,"schema":1,"slots":{}}'
    assert parse_assignment(data, device="pi-1").revision == 1
    with pytest.raises(ContractError) as caught:
        codec.recoded(data, what="assignment")
    assert caught.value.code == "malformed"
    assert codec.recoded(b'{"b": 1, "a": [2.50]}', what="x") == b'{"a":[2.5],"b":1}'


def test_a_selector_of_parentheses_costs_no_more_than_it_is_long() -> None:
    """Each asked for all before it: a minute for one request of 400,000 characters."""
    with pytest.raises(ContractError):
        parse_selector("tag:a" + "(" * (MAX_LENGTH - 5))
    assert parse_selector("not(all)") == parse_selector("not (all)")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_broker_whose_authoritys_file_has_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        parse_broker(f"mqtts://farm:8883?ca={name}")
    assert caught.value.code == "bad-config"


@pytest.mark.parametrize(
    ("name", "read"), [("agent.toml", load_config), ("site.toml", load_site), ("p.toml", load_profile)]
)
def test_a_configuration_without_an_end_is_not_read_to_it(name: str, read: object, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(EdgeliftError) as caught:
        read(tmp_path if name == "site.toml" else tmp_path / name)  # type: ignore[operator]  # one of the three above
    assert caught.value.code in ("bad-config", "too-large")


def test_an_answer_that_is_no_text_is_not_understood() -> None:
    for body in (b'{"a": "\xff"}', b"[" * 100_000, b'{"a": 1e999}'):
        with pytest.raises(ContractError) as caught:
            read_answer(body, dict)
        assert caught.value.code == "malformed"


def test_an_answer_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1000)
    with FalseHost() as host:
        host.answer = lambda *_: (200, {"Content-Type": "application/json"}, b"[" + b" " * 5000 + b"]")
        with pytest.raises(ContractError) as caught:
            Client(host.url, "token").get("/v1/devices", list)
        assert caught.value.code == "too-large"
        host.answer = lambda *_: (500, {}, b"x" * 5000)
        with pytest.raises(EdgeliftError):
            Client(host.url, "token").get("/v1/devices", list)
        assert requests.get(host.url).status_code == 500
