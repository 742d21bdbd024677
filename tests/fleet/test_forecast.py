"""What a preview says of waves is what the rollout then does: held against the rollout itself, look by look."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_contract.report import DeviceFacts
from edgelift_fleet.cohorts import Member
from edgelift_fleet.messages import RolloutRequest
from edgelift_fleet.rollout import forecast
from edgelift_fleet.rollout.draw import order
from edgelift_fleet.rollout.plan import Plan, parse_waves
from tests.fleet.direct import AT_ONCE, FACTS, Direct, direct

pytestmark = pytest.mark.fleet

BARE = DeviceFacts("x86-64-avx2", ["x86-64-avx2"], {})
NANO = DeviceFacts("jetson-maxwell", ["jetson-maxwell"], FACTS.runtimes)
PI = DeviceFacts("arm64-neon", ["arm64-neon"], FACTS.runtimes)


@pytest.fixture
def fleet(site: Path) -> Iterator[Direct]:
    with direct(site) as made:
        yield made


@pytest.mark.parametrize(("bare", "waves"), [(0, "1,25%,100%"), (12, "10%,50%,100%"), (18, "2,25%,100%")])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_waves_that_are_shown_are_the_waves_that_are_made(
    fleet: Direct, bare: int, waves: str, seed: int
) -> None:
    """Whom nothing suits is found out when it is drawn, and others are drawn in its place: shares are larger until then."""
    names = [f"b{n:02}" for n in range(20)]
    fleet.add(*names[bare:], demo="yes")
    fleet.add(*names[:bare], facts=BARE, demo="yes")
    told, made = told_and_made(fleet, waves, seed, names[bare:])
    assert made == told and len(made) == 20 - bare


@pytest.mark.parametrize("seed", range(4))
def test_whom_nothing_suits_takes_part_in_the_draw_of_its_class_too(fleet: Direct, seed: int) -> None:
    """A wave is spread over the classes as they are, with those to whom nothing is given."""
    served = ["box-1", "pi-1", "pi-2", "pi-3"]
    fleet.add("box-1", demo="yes")
    fleet.add("pi-1", "pi-2", "pi-3", facts=PI, demo="yes")
    fleet.add("bare-1", "bare-2", facts=BARE, demo="yes")
    fleet.add("nano-1", "nano-2", facts=NANO, demo="yes")
    told, made = told_and_made(fleet, "1,50%,100%", seed, served)
    assert made == told and sorted(made) == served


def told_and_made(
    fleet: Direct, waves: str, seed: int, answering: list[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Device → its wave: as the preview has it, and as it is once the rollout is done."""
    wanted = RolloutRequest(
        release="digits@1", to="tag:demo", waves=waves.split(","), seed=seed, gates=[], policy=AT_ONCE
    )
    told = fleet.rollouts.preview(wanted)
    rollout = fleet.rollouts.start(wanted).id
    for _ in range(4 * len(wanted.waves) + 8):
        fleet.look()
        fleet.answer(*answering)
    view = fleet.show(rollout, limit=1000)
    assert view.state == "done"
    made = {d.device: d.wave for d in view.devices if d.status == "committed"}
    return {d.device: d.wave for d in told.devices if d.wave}, made


class Counted(list[str]):
    """Counts what is gone through."""

    gone_through = 0

    def __iter__(self) -> Iterator[str]:
        for one in super().__iter__():
            Counted.gone_through += 1
            yield one


def test_a_draw_is_gone_through_once_however_few_suit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a preview of 100,000 boards of which nothing suits any took a thread of the server for many minutes."""
    monkeypatch.setattr(forecast, "order", lambda *asked: Counted(order(*asked)))
    monkeypatch.setattr(Counted, "gone_through", 0)
    boards = [Member(f"b{n:03}", "arm64-neon") for n in range(500)]
    waves = forecast.draw_waves(Plan(parse_waves(["1", "10%", "100%"]), seed=1), boards[:1], boards)
    assert [one for wave in waves for one in wave] == ["b000"]
    assert Counted.gone_through <= 2 * 3 * 500
