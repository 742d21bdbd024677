"""What operators do in a sequence of calls, and what passes meanwhile."""

from __future__ import annotations

import itertools
import re
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import rule

from tests.fleet.played_server import InProcess
from tests.fleet.sequence_base import BOARDS, NAMES, REFUSED, RELEASES, Played

POLICIES = st.sampled_from([(0.0, 0), (0.0, 20), (60.0, 20)])


class Orders(Played):
    """See the module."""

    @rule(name=BOARDS, release=st.sampled_from(RELEASES), policy=POLICIES)
    def assign(self, name: str, release: str, policy: tuple[float, int]) -> None:
        self.order("POST", f"/v1/devices/{name}/assign", {"release": release, "policy": _policy(policy)})

    @rule(release=st.sampled_from(RELEASES), to=st.sampled_from(["all", "tag:a", "not tag:a"]))
    def assign_many(self, release: str, to: str) -> None:
        self.order("POST", "/v1/assign", {"release": release, "to": to})

    @rule(name=BOARDS)
    def clear(self, name: str) -> None:
        self.order("DELETE", f"/v1/devices/{name}/slots/digits")

    @rule(name=BOARDS, key=st.sampled_from(["a", "all"]), put=st.booleans())
    def tag(self, name: str, key: str, put: bool) -> None:
        body = {"set": {key: "1"}} if put else {"remove": [key]}
        self.order("POST", f"/v1/devices/{name}/tags", body)

    @rule(version=st.sampled_from("123"), how=st.sampled_from(["retire", "unretire", "delete"]))
    def end_release(self, version: str, how: str) -> None:
        path = f"/v1/releases/digits/{version}"
        self.order("DELETE", path) if how == "delete" else self.order("POST", f"{path}/{how}")

    @rule(version=st.sampled_from("123"))
    def publish(self, version: str) -> None:
        """The release once more; its files are here, unless they were collected meanwhile."""
        self.order("POST", "/v1/releases", (self.releases[f"digits@{version}"] / "release.json").read_bytes())

    @rule(name=BOARDS)
    def mend(self, name: str) -> None:
        self.order("POST", f"/v1/devices/{name}/mend")
        self.doubted.discard(name)

    @rule(
        release=st.sampled_from(RELEASES), to=st.sampled_from(["all", "all", "tag:a", "class:x86-*", "id:pi-1"]),
        waves=st.sampled_from([["100%"], ["1", "100%"], ["1", "50%", "100%"]]), policy=POLICIES,
        options=st.sampled_from([
            {}, {"max_failures": 1}, {"keep_earlier": True}, {"on_breach": "pause"}, {"approval": True}, {"retries": 2},
            {"late_joiners": "out"}, {"soak_s": 60}, {"max_offline": 0}, {"deadline_s": 90}, {"concurrency": 1},
        ]),
    )  # fmt: skip
    def roll_out(
        self, release: str, to: str, waves: list[str], policy: tuple[float, int], options: dict[str, Any]
    ) -> None:
        plan = {"release": release, "to": to, "waves": waves, "policy": _policy(policy), **options}
        self.order("POST", "/v1/rollouts/preview", plan)
        answer = self.order("POST", "/v1/rollouts", plan)
        if answer.status == 200:
            self.started[answer.json()["id"]] = (self.clock.now(), *policy)

    @rule(
        number=st.integers(1, 3),
        command=st.sampled_from(["pause", "resume", "approve", "cancel", "rollback", "let-go"]),
        name=BOARDS,
        wave=st.integers(0, 4),
    )
    def command(self, number: int, command: str, name: str, wave: int) -> None:
        said = {"let-go": {"devices": [name]}, "approve": {"wave": wave}}
        self.order("POST", f"/v1/rollouts/r{number}/{command}", said.get(command, {"why": "so"}))

    # What passes.

    @rule(times=st.integers(1, 3))
    def look(self, times: int) -> None:
        for _ in range(times):
            self.server.look()

    @rule()
    def sum_up(self) -> None:
        self.server.sum_up()

    @rule()
    def restart(self) -> None:
        site, complaints = self.server.site, self.server.complaints.found
        self.server.__exit__()
        assert not complaints, complaints
        self.server = InProcess(site, self.clock).__enter__()

    @rule(by_s=st.sampled_from([30.0, 90.0, 3600.0, 7200.0, -600.0, -86400.0]))
    def time_passes(self, by_s: float) -> None:
        if by_s > 0:
            self.clock.let_pass(by_s)
        else:  # it is set back
            self.clock.shift_s += by_s

    @rule(by_s=st.sampled_from([200.0, 7200.0]))
    def clock_jumps(self, by_s: float) -> None:
        self.clock.shift_s += by_s

    @rule()
    def look_round(self) -> None:
        """Every page answers."""
        values = {"device": NAMES, "rollout": ("r1", "r2", "r99"), "name": ("digits",), "version": ("1", "2")}
        for path in self.server.get_paths():
            places = re.findall(r"{(\w+)}", path)
            for chosen in itertools.product(*(values.get(place, ("a" * 64,)) for place in places)):
                answer = self.server.ask("GET", path.format(**dict(zip(places, chosen, strict=True))))
                assert answer.status in {200, 304, 401, *REFUSED}, (path, chosen, answer)


def _policy(policy: tuple[float, int]) -> dict[str, Any]:
    return {"probation_s": policy[0], "probation_min_requests": policy[1]}
