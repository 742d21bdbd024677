"""What a preview says of waves is what the rollout then does: held against the rollout itself, look by look."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_contract.report import DeviceFacts
from edgelift_fleet.messages import RolloutRequest
from edgelift_fleet.rollout.plan import parse_waves
from tests.fleet.direct import AT_ONCE, Direct, direct

pytestmark = pytest.mark.fleet

BARE = DeviceFacts("x86-64-avx2", ["x86-64-avx2"], {})


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
    wanted = RolloutRequest(
        release="digits@1", to="tag:demo", waves=waves.split(","), seed=seed, gates=[], policy=AT_ONCE
    )
    told = fleet.rollouts.preview(wanted)
    rollout = fleet.rollouts.start(wanted).id
    for _ in range(4 * len(parse_waves(wanted.waves)) + 8):
        fleet.look()
        fleet.answer(*names[bare:])
    made = {d.device: d.wave for d in fleet.show(rollout, limit=1000).devices if d.status == "committed"}
    assert fleet.show(rollout).state == "done" and len(made) == 20 - bare
    assert made == {d.device: d.wave for d in told.devices if d.wave}
