"""Each operation of the operators' side has a least role, and refuses whoever may less, before anything else."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fastapi import APIRouter
from tests.fleet.declared_answers import Declared, declared_api

from edgelift_contract.errors import ContractError
from edgelift_fleet.api.conditional import OperatorRoute, unkeyed
from edgelift_fleet.api.operators import ASKS, LEAST
from edgelift_fleet.messages.people import AccessRequest
from edgelift_fleet.people.roles import OWNER, ROLES, Principal, lesser, rank

pytestmark = pytest.mark.fleet

#: What needs more than its method says: it hands out secrets, or decides who is trusted.
ADMINS = {
    "list_people", "add_person", "set_password", "set_role", "disable_person", "enable_person", "remove_person",
    "list_access", "make_access", "revoke_access", "audit", "prepare_online", "replace", "remove",
}  # fmt: skip
ANYBODYS = {"login", "meaning"}


@pytest.fixture
def declared(site: Path) -> Iterator[Declared]:
    with declared_api(site) as made:
        yield made


def test_every_operation_needs_its_role(declared: Declared) -> None:
    api = declared.api
    tokens = {
        role: api.fleet.people.make_access(msgspec.convert({"role": role}, AccessRequest), OWNER).token
        for role in ROLES
    }
    walked = 0
    for one in declared.operations.values():
        said = declared.said(one)
        if one.side == "devices" or one.name in ANYBODYS:
            assert LEAST not in said, one.name
            continue
        least = said[LEAST]
        reads = one.method == "GET" or ASKS in said or one.name in ("logout", "change_password")
        expected = "admin" if one.name in ADMINS else "viewer" if reads else "operator"
        assert least == ("operator" if one.name == "export_file" else expected), one.name
        for role, token in tokens.items():
            if rank(role) >= rank(least):
                continue
            # Without a body and with names that are nobody's: the role is judged before either.
            answer = api.http.request(one.method, one.place(), headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()["code"]) == (403, "role-too-low"), (one.name, role)
            assert f"needs the role {least}" in answer.json()["error"] and f"is {role}" in answer.json()["error"]
            walked += 1
    assert walked >= 50


def test_a_role_that_is_enough_comes_in(declared: Declared) -> None:
    api = declared.api
    token = api.fleet.people.make_access(AccessRequest(role="viewer"), OWNER).token
    mine = {"Authorization": f"Bearer {token}"}
    assert api.http.get("/v1/devices", headers=mine).status_code == 200
    assert api.http.post("/v1/devices/search", json={}, headers=mine).status_code == 200
    me = api.http.get("/v1/me", headers=mine).json()
    assert me["role"] == "viewer" and me["name"].startswith("token:") and me["expires_at"] > 0
    assert api.get("/v1/me") == {"name": "site", "role": "admin", "expires_at": 0.0}


def test_a_route_without_a_role_is_none() -> None:
    router = APIRouter(route_class=OperatorRoute)
    with pytest.raises(ValueError, match="who may call it"):
        router.get("/v1/x")(lambda: None)
    with pytest.raises(ValueError, match="who may call it"):
        router.post("/v1/x", openapi_extra=unkeyed("why"))(lambda: None)


def test_roles_are_in_order() -> None:
    assert [rank(role) for role in ROLES] == [0, 1, 2] and rank("emperor") == -1
    assert lesser("admin", "viewer") == "viewer" and lesser("operator", "emperor") == "emperor"
    with pytest.raises(ContractError, match="emperor"):
        Principal("maria", "emperor", "login").require("viewer")
