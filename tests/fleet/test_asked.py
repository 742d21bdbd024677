"""A field that nobody knows is refused in what people ask for, however deep it stands."""

import json
from typing import Any

import msgspec
import pytest

from edgelift_contract.errors import ContractError
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.messages import AssignManyRequest, RolloutRequest
from edgelift_fleet.messages.keeping import TellRequest
from tests.fleet.declared_answers import Declared
from tests.fleet.test_odd_requests import declared as declared

pytestmark = pytest.mark.fleet


class Inner(msgspec.Struct):
    here: int = 0


class Outer(msgspec.Struct):
    one: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    renamed: int = msgspec.field(default=0, name="called")


@pytest.mark.parametrize(
    ("body", "name", "where"),
    [
        ({"x": 1}, "x", ""),
        ({"one": {"x": 1}}, "x", "one"),
        ({"many": [{"here": 1}, {"there": 1}]}, "there", "many"),
        ({"named": {"a": {"x": 1}}}, "x", "named"),
        ({"renamed": 1}, "renamed", ""),
    ],
)
def test_it_is_named_with_its_place(body: Any, name: str, where: str) -> None:
    with pytest.raises(ContractError) as refused:
        decode_asked(json.dumps(body).encode(), Outer)
    assert refused.value.code == "malformed"
    assert name in refused.value.message and where in refused.value.message


def test_what_is_known_is_read() -> None:
    body = {"one": None, "many": [{"here": 2}], "named": {"a": {"here": 3}}, "called": 4}
    assert decode_asked(json.dumps(body).encode(), Outer) == Outer(None, [Inner(2)], {"a": Inner(3)}, 4)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"release": "digits@1", "to": "all", "waves": ["1"], "policy": {"probation": 1}}', RolloutRequest),
        (b'{"release": "digits@1", "to": "all", "policy": {"min_requests": 1}}', AssignManyRequest),
        (b'{"device": ["pi-1"]}', TellRequest),
    ],
)
def test_a_slip_in_a_name_does_not_leave_the_default_in_force(body: bytes, kind: Any) -> None:
    with pytest.raises(ContractError, match=r"policy|device"):
        decode_asked(body, kind)


def test_a_site_refuses_it(declared: Declared) -> None:
    for name in ("start", "preview", "assign"):
        operation = declared.operations[name]
        body = {**operation.example, "policy": {"probation": 1}}
        answer = declared.ask(operation, content=json.dumps(body))
        assert answer.status_code == 400 and "probation" in answer.text, (name, answer.text)
