"""The laws that hold after each call of a sequence."""

from __future__ import annotations

import sqlalchemy as sa
from hypothesis.stateful import invariant

from edgelift_fleet.messages import LatencyReply, RolloutView
from edgelift_fleet.rollout.situation import TERMINAL
from edgelift_fleet.tables import AssignmentRow
from tests.fleet.sequence_base import Played


class Laws(Played):
    """See the module."""

    @invariant()
    def nothing_broke(self) -> None:
        if hasattr(self, "server"):
            assert not self.server.complaints.found, self.server.complaints.found

    @invariant()
    def revisions_grow(self) -> None:
        if not hasattr(self, "server"):
            return
        with self.server.db.read() as session:
            found = dict(session.execute(sa.select(AssignmentRow.device, AssignmentRow.revision)).all())
        for name, revision in found.items():
            assert revision >= self.revisions.get(name, 0)
            self.revisions[name] = revision

    @invariant()
    def rollouts_account_for_everybody(self) -> None:
        for rollout, (at, probation_s, least) in getattr(self, "started", {}).items():
            view = self.get(f"/v1/rollouts/{rollout}?limit=1000", RolloutView)
            names = [one.device for one in view.devices]
            assert len(set(names)) == len(names) == view.reached == sum(view.counts.values()), view
            if view.state in TERMINAL:
                places = next(event.devices for event in reversed(view.events) if event.kind == view.state)
                placed = [name for several in places.values() for name in several]
                assert len(set(placed)) == len(placed) and set(names) <= set(placed), view
            for one in view.devices:
                if one.status == "committed" and (rollout, one.device) not in self.committed:
                    self.committed.add((rollout, one.device))
                    self.was_shown(rollout, one.device, one.artifact, one.committed_by, at, probation_s, least)

    def was_shown(
        self, rollout: str, device: str, artifact: str, by: str, at: float, probation_s: float, least: int
    ) -> None:
        """A device that committed said so, its time has passed, and its windows came to the host."""
        assert (device, rollout) in self.said
        assert self.clock.now() - at >= probation_s
        seen = sum(w.ok + w.errors for _, d, w in self.received if (d, w.artifact) == (device, artifact))
        assert seen >= least
        assert by == "goldens" or seen >= max(1, least)

    @invariant()
    def telemetry_counts_once(self) -> None:
        if not hasattr(self, "server"):
            return
        fleet = self.get("/v1/latency?from=0&to=9000000000", LatencyReply)
        windows = [window for _, _, window in self.received]
        sums = (
            sum(g.windows for g in fleet.groups),
            sum(g.ok for g in fleet.groups),
            sum(g.errors for g in fleet.groups),
        )
        assert sums == (len(windows), sum(w.ok for w in windows), sum(w.errors for w in windows))
        counted = sum(group.phases["total"].count for group in fleet.groups if "total" in group.phases)
        assert counted == sum(w.latency_us["total"].count for w in windows)
