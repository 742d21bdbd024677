"""Every operation that changes something is carried out once for a key, and one that takes none says why."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Depends

from edgelift_contract.bundle import BUNDLE_ABILITY
from edgelift_fleet.api.conditional import NO_KEY, OperatorRoute, keyed, unkeyed
from edgelift_fleet.api.operators import Operators
from edgelift_fleet.db import SITE
from edgelift_fleet.messages.people import PersonRequest
from edgelift_fleet.people.directory import People
from edgelift_fleet.restored import Restored, note_restored
from edgelift_fleet.site import load_site
from edgelift_fleet.tables import BundleRow, ReleaseRow, TelemetrySampleRow
from tests.fleet.conftest import both_engines
from tests.fleet.declared_answers import Declared, declared_api
from tests.fleet.direct import FACTS
from tests.fleet.trust.sites import KEY, sign, standing
from tests.fleet.trust.worlds import listed

pytestmark = pytest.mark.fleet


@pytest.fixture
def declared(site: Path) -> Iterator[Declared]:
    with declared_api(site) as made:
        yield made


def succeeding(declared: Declared) -> Iterator[tuple[str, dict[str, str], Any]]:
    """Each operation that takes a key, by its name, names in its path, a body, in an order that works."""
    boards = declared.api.boards
    boards.add("pi-1", "pi-2", facts=msgspec.structs.replace(FACTS, abilities=[BUNDLE_ABILITY]))
    with boards.db.read() as session:
        published = json.loads(session.scalar(sa.select(ReleaseRow.body).where(ReleaseRow.version == "3")) or "")
    yield "publish", {}, published
    yield "assign", {}, {"release": "digits@1"}
    yield "assign_all", {}, {"release": "digits@1", "to": "id:pi-2"}
    yield "tags", {}, {"set": {"a": "b"}}
    yield "mend", {}, None
    yield "sample", {}, {"for_s": 60}
    yield "clear", {}, None
    yield "ask_for_bundle", {}, {"why": "slow"}
    with boards.db.read() as session:
        bundle = session.scalars(sa.select(BundleRow.id)).one()
    yield "withdraw_bundle", {"bundle": bundle}, None
    yield "start", {}, {"release": "digits@2", "to": "all", "waves": ["100%"]}
    yield "command", {"command": "cancel", "rollout": "r1"}, {}
    yield "silence_alert", {}, {"code": "offline", "for_s": 60}
    yield "retire_release", {"version": "3"}, {}
    yield "unretire_release", {"version": "3"}, None
    yield "delete_release", {"version": "3"}, None
    yield "collect_blobs", {}, None
    with boards.db.write(SITE) as session:
        note_restored(session, Restored(backup="b", made_at=1.0, restored_at=2.0, holds=True))
    yield "tell_restored", {}, {}
    declared.api.fleet.people.add(PersonRequest("maria", "viewer", "ten or more of them"))
    yield "set_role", {}, {"role": "admin"}
    for name in ("disable_person", "enable_person", "remove_person"):
        yield name, {}, None
    sign(load_site(declared.api.fleet.site.folder), [])
    yield "prepare_online", {}, None
    image = standing(declared.api)
    image.list_release([listed(1)], time.time())
    image.sign([KEY])
    yield "replace", {"device": "pi-1"}, None
    yield "remove", {"device": "pi-1"}, None
    yield "bring_image", {}, {"roles": {role: data.decode() for role, data in image.files().items()}}


@both_engines
def test_every_operation_that_changes_something_does_so_once_for_a_key(declared: Declared) -> None:
    """A route that is new fails here until it is among them; it can't be made without saying how it is asked twice."""
    changing = {
        name for name, one in declared.operations.items()
        if one.side == "operators" and one.method != "GET" and NO_KEY not in declared.said(one)
    }  # fmt: skip
    asked = set()
    for name, names, body in succeeding(declared):
        operation, key = declared.operations[name], {"Idempotency-Key": f"key-{name}"}
        options = {} if body is None else {"content": json.dumps(body)}
        first, again = (
            declared.ask(operation, operation.place(**names), headers=key, **options) for _ in range(2)
        )
        assert first.status_code == 200 and "Idempotent-Replayed" not in first.headers, (name, first.text)
        assert (again.content, again.headers.get("Idempotent-Replayed")) == (first.content, "true"), (
            name,
            again.text,
        )
        asked.add(name)
    assert asked == changing
    with declared.api.boards.db.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(TelemetrySampleRow)) == 1


def test_a_route_that_changes_something_without_a_key_can_not_be_made() -> None:
    def endpoint() -> None: ...

    operators = Operators(cast(People, None), "token", reads="viewer", changes="operator")
    router = APIRouter(route_class=OperatorRoute, dependencies=[Depends(operators)])
    router.get("/v1/things")(endpoint)
    for method in ("post", "put", "patch", "delete"):
        with pytest.raises(ValueError, match="Idempotency-Key"):
            getattr(router, method)("/v1/things")(endpoint)
        with pytest.raises(ValueError, match="If-Match"):
            getattr(router, method)("/v1/devices/{device}/things", openapi_extra=keyed())(endpoint)
        getattr(router, method)("/v1/devices/{device}/things", openapi_extra=keyed(match=True))(endpoint)
        getattr(router, method)("/v1/things", openapi_extra=unkeyed("It asks."))(endpoint)


def test_what_takes_no_key_is_few_and_says_why(declared: Declared) -> None:
    named = {
        name: declared.said(one)[NO_KEY]
        for name, one in declared.operations.items()
        if NO_KEY in declared.said(one)
    }
    assert all(named.values())
    assert set(named) == {
        "put_blob", "preview", "search", "search_counts", "export_assignment", "make_token", "revoke_token",
        "unsilence_alert", "test_receiver",
        "login", "logout", "add_person", "set_password", "change_password", "make_access", "revoke_access",
    }  # fmt: skip


def test_a_bundle_that_came_meanwhile_is_not_thrown_away(declared: Declared) -> None:
    declared.api.boards.add("pi-1", facts=msgspec.structs.replace(FACTS, abilities=[BUNDLE_ABILITY]))
    asked = declared.ask(declared.operations["ask_for_bundle"], content="{}").json()["id"]
    path = f"/v1/devices/pi-1/bundles/{asked}"
    seen = declared.ask(declared.operations["show_bundle"], path).headers["ETag"]
    with declared.api.boards.db.write(SITE) as session:
        session.execute(sa.update(BundleRow).values(state="brought", kept=True))
    withdraw = declared.operations["withdraw_bundle"]
    assert declared.ask(withdraw, path, headers={"If-Match": seen}).status_code == 412
    seen = declared.ask(declared.operations["show_bundle"], path).headers["ETag"]
    assert declared.ask(withdraw, path, headers={"If-Match": seen}).json()["kept"] is False
