"""What a device's page says, as its JSON has it."""

from __future__ import annotations

import msgspec

from edgelift_fleet.console.charts import Timeline
from edgelift_fleet.console.device import timeline
from edgelift_fleet.messages import BundleView, DeviceDetail, GaugeStep, LatencyGroup
from edgelift_fleet.messages.identity import TokenView


class Ailment(msgspec.Struct, frozen=True):
    """What is wrong with the device: a kind of trouble as the front page counts it, what it is, what to do, since when, and
    until when nobody is told; both in seconds since 1970, 0 where there is none.
    """

    code: str
    tone: str
    what: str
    do: str
    detail: str = ""
    since: float = 0.0
    until: float = 0.0


class WayBack(msgspec.Struct, frozen=True):
    """The version that a slot can go back to: empty where there is none; `refused` says why it can't be had, and what to
    do.
    """

    release: str = ""
    refused: str = ""


class SlotCard(msgspec.Struct, frozen=True):
    """A slot.

    Attributes:
        slot, state, generation: as it reports.
        running: what serves, as `digits@1`; empty for nothing. `since` when, seconds since 1970.
        artifact: id of what serves.
        wanted: what it should run; empty for nothing.
        asked_by: the rollout that wants that; empty for a person.
        staged: an update that is under way, with where it stands; empty for none.
        last: how the last update ended, in words; `last_tone` as of a state.
        goldens: what its goldens said at the last swap, in words.
        next: what it will do next, in words.
        back: the version before.
    """

    slot: str
    state: str
    generation: int
    running: str
    since: float
    artifact: str
    wanted: str
    asked_by: str
    staged: str
    last: str
    last_tone: str
    goldens: str
    next: str
    back: WayBack


class Happening(msgspec.Struct, frozen=True):
    """Something that happened: when, what, as a word with the `state` whose sign it bears, and in words."""

    at: float
    state: str
    what: str
    text: str
    slot: str = ""


class DevicePage(msgspec.Struct, frozen=True):
    """A device on one page.

    Attributes:
        detail: as `GET /v1/devices/{device}` answers it.
        ailments: what is wrong with it, worst first.
        slots: each of them.
        token: by which it enrolled; None where it came by the site's own, or nobody knows.
        history: what happened, newest first.
        bundles: that it was asked for, newest first; `can_bundle`: it can be asked for one.
        span: of the pictures: `1h`, `6h`, `24h`, `7d` or `30d`; from `start` to `end` in steps of `step_s`.
        slot: whose latency is shown; empty where it has none.
        latency, gauges: as the API answers them, in these steps.
        hot_c, disk_low_bytes: from where on it is hot, and has little disk space left.
    """

    detail: DeviceDetail
    ailments: list[Ailment]
    slots: list[SlotCard]
    token: TokenView | None
    history: list[Happening]
    bundles: list[BundleView]
    can_bundle: bool
    span: str
    start: float
    end: float
    step_s: float
    slot: str
    latency: list[LatencyGroup]
    gauges: list[GaugeStep]
    hot_c: float
    disk_low_bytes: int

    def picture(self) -> Timeline:
        """Its timeline."""
        return timeline.draw(self.drawn())

    def rows(self) -> list[timeline.StepNumbers]:
        """The numbers of the picture, newest first."""
        return timeline.rows(self.drawn())

    def drawn(self) -> timeline.DrawnTimeline:
        """What the timeline is made of."""
        return timeline.DrawnTimeline(
            self.detail.device.device, self.slot, self.start, self.end, self.step_s, self.latency, self.gauges,
            self.detail.swaps, self.detail.events, self.hot_c, self.disk_low_bytes,
        )  # fmt: skip
