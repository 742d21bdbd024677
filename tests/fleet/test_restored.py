"""A site that came back from a backup tells no board anew what it took back since, until a person says so."""

from pathlib import Path

import pytest

from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError
from edgelift_contract.report import SlotReport
from edgelift_fleet.db import SITE
from edgelift_fleet.keeping.restore import restore
from edgelift_fleet.messages import RestoredView, TellReply
from edgelift_fleet.restored import tell_anew, view_restored
from tests.fleet.conftest import both_engines
from tests.fleet.direct import Direct, direct
from tests.fleet.test_restore import take

pytestmark = pytest.mark.fleet

ANY = Policy(probation_s=0.0, probation_min_requests=0, allow_older=True)
NAMES = ("pi-1", "pi-2", "pi-3", "pi-4")


def move(control: Direct, release: str, *names: str) -> None:
    for name in names:
        control.assignments.assign(name, release, policy=ANY)
    control.answer(*names)


def view(control: Direct) -> RestoredView:
    with control.db.read() as session:
        return view_restored(session)


def tell(control: Direct, *names: str) -> TellReply:
    with control.db.write(SITE) as session:
        return tell_anew(session, names)


def went_on(control: Direct) -> dict[str, tuple[str, str]]:
    return {one.device: (one.says, one.runs) for one in view(control).went_on}


def says(control: Direct, name: str) -> tuple[int, str]:
    wanted = control.wanted(name)[name]
    return wanted.revision, wanted.slots["digits"].version if wanted.slots else ""


@pytest.fixture
def gone_on(site: Path, tmp_path: Path) -> dict[str, object]:
    """A backup in which all run `digits@2`; since, all were taken back, and one came to it again."""
    with direct(site) as control:
        control.add(*NAMES)
        move(control, "digits@2", *NAMES)
        take(site, tmp_path / "site.tar")
        move(control, "digits@1", "pi-1", "pi-2", "pi-3", "pi-4")
        move(control, "digits@2", "pi-3")
        return {"slots": control.slots, "seen_revision": control.seen_revision, "tags": control.tags}


def come_back(control: Direct, boards: dict[str, object], *names: str) -> None:
    vars(control).update(boards)
    control._sequence = 1000
    control.say(*names)


@both_engines
def test_who_was_taken_back_since_stays_until_told_or_assigned(
    site: Path, engine: str, gone_on: dict[str, object], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = "sqlite" if engine == "sqlite" else request.getfixturevalue("postgres").database("restored")
    assert restore(tmp_path / "site.tar", tmp_path / "new", database=database).holds
    with direct(tmp_path / "new") as control:
        assert went_on(control) == {}  # nobody was heard of yet
        come_back(control, gone_on, "pi-1", "pi-2", "pi-3")
        assert went_on(control) == {"pi-1": ("digits@2", "1"), "pi-2": ("digits@2", "1")}
        assert (says(control, "pi-1"), says(control, "pi-2")) == ((1, "2"), (1, "2"))
        assert says(control, "pi-3") == (4, "2")  # which changes nothing of what it runs
        control.say("pi-1", "pi-2")
        assert says(control, "pi-1") == (1, "2")

        assert tell(control, "pi-1") == TellReply(["pi-1"], holds=True)
        assert says(control, "pi-1") == (3, "2")
        control.assignments.assign("pi-2", "digits@3", policy=ANY)  # a person says something else
        assert says(control, "pi-2") == (3, "3")
        control.answer("pi-1", "pi-2")
        assert control.versions("pi-1", "pi-2") == ["2", "3"]
        assert went_on(control) == {}
        with pytest.raises(ContractError, match="runs what the site says") as refusal:
            tell(control, "pi-1")
        assert refusal.value.code == "not-found"

        assert tell(control) == TellReply([], holds=False)
        control.say("pi-4")  # comes now, and is told without being asked about
        assert says(control, "pi-4") == (3, "2")


def test_with_tell_they_are_told_as_soon_as_they_are_heard_of(gone_on: dict[str, object], tmp_path: Path) -> None:
    assert not restore(tmp_path / "site.tar", tmp_path / "new", tell=True).holds
    with direct(tmp_path / "new") as control:
        come_back(control, gone_on, *NAMES)
        assert [says(control, name) for name in NAMES] == [(3, "2"), (3, "2"), (4, "2"), (3, "2")]
        assert view(control).devices == 0


def test_a_slot_that_came_or_went_since_is_no_reason_to_change_it_unasked(site: Path, tmp_path: Path) -> None:
    with direct(site) as control:
        control.add("pi-1", "pi-2")
        move(control, "digits@2", "pi-1")
        control.assignments.assign("pi-2", "digits@2", slot="other", policy=ANY)
        control.answer("pi-2")  # its slot `digits` is assigned nothing, and is empty
        take(site, tmp_path / "site.tar")
        control.assignments.clear("pi-1", "digits")
        control.answer("pi-1")
        move(control, "digits@1", "pi-2")
        boards = {"slots": control.slots, "seen_revision": control.seen_revision, "tags": control.tags}
        assert control.slots["pi-1"] == SlotReport()
    restore(tmp_path / "site.tar", tmp_path / "new")
    with direct(tmp_path / "new") as control:
        come_back(control, boards, "pi-1", "pi-2")
        assert {(one.device, one.slot, one.says, one.runs) for one in view(control).went_on} == {
            ("pi-1", "digits", "digits@2", ""), ("pi-2", "digits", "", "1"), ("pi-2", "other", "digits@2", ""),
        }  # fmt: skip


def test_a_site_that_was_never_restored_says_so(site: Path) -> None:
    with direct(site) as control:
        for ask in (lambda: view(control), lambda: tell(control)):
            with pytest.raises(ContractError, match="was not restored") as refusal:
                ask()
            assert refusal.value.code == "not-found"
