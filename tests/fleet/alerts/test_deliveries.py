"""What a receiver was to be told is sent once: tried again, given up, taken over, and never twice at the same time."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from tests.fleet.alerts.listening import KEY, listening_http, verify
from tests.fleet.alerts.world import RULES, Kept, World, offline, receiver
from tests.fleet.alerts.world import world as world
from tests.fleet.direct import Direct
from tests.waiting import until

from edgelift_fleet.alerts.answers import Receipt
from edgelift_fleet.alerts.receivers import Receiver, Secret
from edgelift_fleet.alerts.rounds import Around, Rounds
from edgelift_fleet.alerts.sender import TRIES, Sender
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.lead import Lead
from edgelift_fleet.tables import (
    AlertDeliveryRow,
)

pytestmark = pytest.mark.fleet


def test_a_receiver_that_was_down_gets_it_when_it_is_up(world: World) -> None:
    offline(world)
    world.way.answers = [Receipt(False, "HTTP 500"), Receipt(False, "HTTP 503", retry_after_s=600.0)]
    assert world.sender.send_one(world.now) and not world.sender.send_one(world.now)
    assert world.sender.send_one(world.now + 10) and not world.sender.send_one(world.now + 500)
    assert world.rows(AlertDeliveryRow)[0].error == "HTTP 503"
    assert world.sender.send_one(world.now + 620) and not world.sender.send_one(world.now + 1e6)
    assert [one.id for one in world.way.came] == [world.way.came[0].id] * 3
    assert world.rows(AlertDeliveryRow) == []


def test_one_that_takes_nothing_is_given_up_and_the_others_are_told(world: World) -> None:
    offline(world)
    world.way.answers = [Receipt(False, "HTTP 500")] * TRIES
    at, tries = world.now, 0
    while world.sender.send_one(at):
        at, tries = at + 1200, tries + 1
    assert tries == TRIES and not world.sender.send_one(at + 1e5)
    (row,) = world.rows(AlertDeliveryRow)
    assert row.given_up_at and row.error == "HTTP 500"
    world.ahead = row.given_up_at - time.time()
    (failing,) = [one for one in world.look(15) if one.code == "receiver-failing"]
    assert "A message was given up: HTTP 500" in failing.what and failing.subjects == ["ops"]


def test_one_that_wants_nothing_more_is_tried_once(world: World) -> None:
    offline(world)
    world.way.answers = [Receipt(False, "HTTP 410", gone=True)]
    assert world.sender.send_one(world.now) and not world.sender.send_one(world.now + 1e5)
    assert world.rows(AlertDeliveryRow)[0].given_up_at


def test_a_server_that_ends_while_it_sends_sends_it_again_with_the_same_id(world: World) -> None:
    offline(world)

    class Ended(BaseException):
        pass

    def end() -> None:
        raise Ended

    world.way.meanwhile = end
    with pytest.raises(Ended):
        world.sender.send_one(world.now)
    world.way.meanwhile = lambda: None
    after = Sender(receiver(world.way), world.boards.db, world.lead)
    assert not after.send_one(world.now + 5)  # the other one may still be sending
    assert after.send_one(world.now + 60) and not after.send_one(world.now + 1e5)
    assert world.way.came[0].id == world.way.came[1].id and len(world.way.came) == 2


def test_what_a_clock_wrote_that_has_jumped_back_is_sent(world: World) -> None:
    offline(world)
    with world.boards.db.write(ROWS) as session:
        session.execute(sa.update(AlertDeliveryRow).values(next_at=world.now + 1e8, taken_until=world.now + 1e8))
    assert world.sender.send_one(world.now)


def test_too_many_that_wait_are_given_up_and_a_receiver_that_is_gone_has_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelift_fleet.alerts.keep.MAX_WAITING", 2)
    world.boards.add("pi-1")
    for _ in range(3):
        world.signatures = [*world.signatures, "x"] if not world.signatures else []
        world.look(15)
    waiting = sorted((row.made_at, bool(row.given_up_at)) for row in world.rows(AlertDeliveryRow))
    assert [given_up for _, given_up in waiting] == [True, False, False]
    world.rounds = Rounds(
        Around(world.boards.db, world.lead, world.boards.seen, "farm", lambda: "", list), RULES, []
    )
    world.look(15)
    assert world.rows(AlertDeliveryRow) == []


def test_another_leader_goes_on_and_what_is_taken_is_sent_by_one(postgres_url: str) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(closing(Database(postgres_url))) for _ in range(2))
        one.migrate()
        first, second = Lead(one), Lead(two)
        stack.enter_context(first)
        assert first.wait(60)
        world = World(Direct(one, first), first)
        offline(world)
        stack.enter_context(second)
        other = Sender(receiver(world.way), two, second)

        def change() -> None:
            first.__exit__()
            until(lambda: second.leads)
            assert not other.send_one(world.now)  # it is under way

        world.way.meanwhile = change
        assert world.sender.send_one(world.now)  # and is noted as sent though another one leads by now
        world.way.meanwhile = lambda: None
        assert not other.send_one(world.now + 1e5)
        world.rounds = world.another(two, second, LastSeen())
        assert world.told(15) == []
        assert len(world.way.came) == 1


def test_a_receiver_that_hangs_delays_no_other_one(world: World, tmp_path: Path) -> None:
    with listening_http() as http, ExitStack() as stack:
        hangs, stays = Kept(), threading.Event()
        hangs.meanwhile = stays.wait
        (tmp_path / "secret").write_text(KEY)
        (tmp_path / "secret").chmod(0o600)
        from edgelift_fleet.alerts.webhook import Webhook

        good = Receiver(
            "good", "webhook", [], 5.0, Webhook(http.url, "", 5.0, None), Secret("good", tmp_path / "secret")
        )
        around = Around(world.boards.db, world.lead, world.boards.seen, "farm", lambda: "", list)
        rounds = stack.enter_context(
            Rounds(around, msgspec.structs.replace(RULES, every_s=0.02), [receiver(hangs, "bad"), good])
        )
        stack.callback(stays.set)
        world.boards.add("pi-1")
        world.heard_before(2000)
        until(lambda: http.came and hangs.came, "both were asked")
        assert verify(http.came[0][1], http.came[0][2]) == hangs.came[0].id
        world.boards.come("pi-1")
        assert rounds is not None


def test_the_threads_end_with_their_block(world: World) -> None:
    before = threading.active_count()
    with world.another(world.boards.db, world.lead, world.boards.seen):
        assert threading.active_count() == before + 2
    until(lambda: threading.active_count() == before)
