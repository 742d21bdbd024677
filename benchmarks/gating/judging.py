"""What the gate says of several runs of one wave, without the work that can't change it."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.gating.binned import Floats
from edgelift_fleet.rollout.gates.compare import differences
from edgelift_fleet.rollout.gates.draws import Draws, draw, ways
from edgelift_fleet.rollout.gates.family import smallest_p
from edgelift_fleet.rollout.gates.looks import spending
from edgelift_fleet.rollout.gates.shares import suffices
from edgelift_fleet.rollout.gates.wave import Drawn, Look, Rules, WaveArrays, judge_wave

#: Among so few draws it is seen of most looks that they are well.
_SOME = (1_000, 3_000)


def first_breaches(drawn: Drawn, runs: Sequence[Floats], rules: Rules) -> list[int]:
    """The look at which the gate calls a wave bad, for each of several runs of it; 0 for none.

    A run is float[boards, looks, series], its boards class by class, members first.
    """
    fleet, found = WaveArrays(drawn), []
    for run, looks in zip(runs, to_be_judged(drawn, runs, rules), strict=True):
        verdict = judge_wave(drawn, _told(fleet, run[:, :looks], rules), rules, make=kept_draws) if looks else None
        found.append(verdict.look if verdict and verdict.breach else 0)
    return found


def _told(fleet: WaveArrays, run: Floats, rules: Rules) -> dict[int, Look]:
    """Its looks as a rollout keeps them."""
    series, looks = rules.series, run.transpose(1, 0, 2).tolist()
    return {
        number: {
            board: dict(zip(series, values, strict=True))
            for board, values in zip(fleet.devices, look, strict=True)
        }
        for number, look in enumerate(looks, start=1)
    }


def to_be_judged(drawn: Drawn, runs: Sequence[Floats], rules: Rules) -> list[int]:
    """How many looks of each run must be judged: up to the last that may be a breach, seen for itself.

    No guess. A look counts as worse the draws with as small a p as the wave, and those that earlier looks have stopped:
    no fewer than there are of the first alone. And these are no fewer than the draws that differ by more than the wave
    in that comparison in which fewest do. Where that many are more than may be spent by then, it is no breach.
    """
    fleet = WaveArrays(drawn)
    if not suffices(ways(drawn.counts), rules.alpha):
        return [0] * len(runs)
    draws = kept_draws(fleet.member, fleet.stratum, seed=drawn.seed)
    looks, series = runs[0].shape[1], len(rules.series)
    may_spend = np.floor(np.array(spending(rules.alpha, rules.looks)) * len(draws) + 1e-9)[:looks]
    allowed = np.array([rules.allowed(one) for one in rules.series])[:, None]
    values = np.stack(runs).transpose(0, 2, 3, 1)
    raised = np.where(fleet.member, values - allowed, values).reshape(-1, len(fleet.member))
    # One row per run, look and series, in this order.
    may, most = np.arange(len(raised)), np.tile(np.repeat(may_spend, series), len(runs))
    for some in (*_SOME, len(draws)):
        if len(may) and some <= len(draws):
            few = Draws(draws.members[:some], exact=False)
            may = may[_fewest(differences(few, fleet.stratum, raised[may]).values(), len(may)) <= most[may]]
    by_look = raised.reshape(len(runs), looks, series, -1)
    found = [0] * len(runs)
    for run, look in sorted({divmod(int(row) // series, looks) for row in may}, reverse=True):
        if not found[run] and _as_bad(draws, fleet, by_look[run, look], rules) <= may_spend[look]:
            found[run] = look + 1
    return found


def _fewest(compared: Iterable[Floats], rows: int) -> Floats:
    """float[rows]: how many draws differ by more than the first, the wave; of the comparison in which fewest do."""
    fewest = np.full(rows, np.inf)
    for differing in compared:
        worse = (differing > differing[:, :1]).sum(axis=1)
        tells = differing.max(axis=1) > differing.min(axis=1)  # else the p-value of each draw is 1
        fewest = np.where(tells, np.minimum(fewest, worse), fewest)
    return fewest


def _as_bad(draws: Draws, fleet: WaveArrays, raised: Floats, rules: Rules) -> int:
    """How many draws have as small a p as the wave at one look."""
    rows = [row for found in differences(draws, fleet.stratum, raised).values() for row in found]
    p = smallest_p(rows, rules.alpha)
    return int(np.count_nonzero(p <= p[0]))


@lru_cache(maxsize=400)
def _kept(member: bytes, stratum: bytes, seed: int) -> Draws:
    return draw(np.frombuffer(member, dtype=bool), np.frombuffer(stratum, dtype=np.int_), seed=seed)


def kept_draws(member: NDArray[np.bool_], stratum: NDArray[np.int_], *, seed: int) -> Draws:
    """As `draws.draw`: one fleet's draws serve for all slowdowns."""
    return _kept(member.tobytes(), stratum.tobytes(), seed)
