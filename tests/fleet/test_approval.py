"""An approval is for one wave: nobody approves one unseen who meant another."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_fleet.db import SITE
from edgelift_fleet.messages import RolloutOrder
from edgelift_fleet.tables import RolloutRow
from tests.fleet.conftest import both_engines
from tests.fleet.direct import Direct, direct

pytestmark = pytest.mark.fleet


@pytest.fixture
def fleet(site: Path) -> Iterator[Direct]:
    with direct(site) as made:
        yield made


def begin(fleet: Direct, waves: str = "1,50%,100%", **options: object) -> str:
    names = ["a", "b", "c", "d"]
    fleet.add(*names)
    for name in names:
        fleet.assignments.assign(name, "digits@1")
    fleet.answer(*names)
    rollout = fleet.start("digits@2", waves, **{"approval": True, "gates": [], **options})
    fleet.look()
    return rollout


def commit(fleet: Direct) -> None:
    fleet.answer("a", "b", "c", "d")
    fleet.look(3)


def approve(fleet: Direct, rollout: str, wave: int = 0) -> None:
    fleet.rollouts.command(rollout, "approve", RolloutOrder(wave=wave))


@both_engines
def test_two_who_approve_the_same_wave_approve_one(fleet: Direct) -> None:
    rollout = begin(fleet)
    commit(fleet)
    assert "wave 2 waits for a person to approve it" in fleet.show(rollout).reason
    approve(fleet, rollout)
    with pytest.raises(ContractError, match=r"(?s)No wave of the rollout r1 waits.*approve r1 --wave 3"):
        approve(fleet, rollout)  # nobody has looked at it since
    fleet.look()
    with pytest.raises(ContractError, match="No wave of the rollout r1 waits"):
        approve(fleet, rollout)  # wave 2 has begun, of which nothing is known yet
    with pytest.raises(ContractError, match="Wave 2 of the rollout r1 has begun"):
        approve(fleet, rollout, 2)
    commit(fleet)
    shown = fleet.show(rollout)
    assert (shown.wave, shown.committed) == (2, 2) and "wave 3 waits" in shown.reason
    assert [event.text for event in shown.events if event.kind == "approved"] == [
        "Wave 2 is approved. By operator."
    ]


def test_a_wave_can_be_named_before_it_waits(fleet: Direct) -> None:
    rollout = begin(fleet)
    approve(fleet, rollout, 2)
    for wave, why in ((1, "has begun"), (2, "is approved"), (4, "has 3 waves, and no wave 4")):
        with pytest.raises(ContractError, match=why):
            approve(fleet, rollout, wave)
    commit(fleet)
    assert fleet.show(rollout).wave == 2
    commit(fleet)
    assert "wave 3 waits" in fleet.show(rollout).reason


def test_what_waits_can_be_approved_while_it_is_paused(fleet: Direct) -> None:
    rollout = begin(fleet)
    commit(fleet)
    fleet.order(rollout, "pause")
    approve(fleet, rollout)
    fleet.look()
    assert fleet.show(rollout).state == "paused"
    fleet.order(rollout, "resume")
    fleet.look()
    assert fleet.show(rollout).wave == 2


def test_a_wave_that_has_nobody_is_passed_over_and_the_one_that_waits_is_approved(fleet: Direct) -> None:
    rollout = begin(fleet, "1,25%,100%")  # of four devices the second wave is the first
    commit(fleet)
    assert "wave 3 waits for a person to approve it" in fleet.show(rollout).reason
    approve(fleet, rollout)
    fleet.look()
    assert fleet.show(rollout).wave == 3


def test_where_nothing_is_to_be_approved_that_is_said(fleet: Direct) -> None:
    rollout = begin(fleet, approval=False)
    with pytest.raises(ContractError, match="asks for no approval"):
        approve(fleet, rollout)
    with pytest.raises(ContractError, match="takes no wave"):
        fleet.rollouts.command(rollout, "pause", RolloutOrder(wave=2))
    with fleet.db.write(SITE) as session:
        session.execute(sa.update(RolloutRow).values(plan="{"))
    with pytest.raises(ContractError, match="goes nowhere") as refused:
        approve(fleet, rollout)
    assert refused.value.code == "conflict" and "rollout cancel r1" in refused.value.hint


def test_a_command_without_a_wave_is_what_it_was_to_older_servers() -> None:
    assert codec.canonical_json(RolloutOrder("so")) == b'{"why":"so"}'
