"""What a rollout would do, before it starts: named, counted, and refused where it can be known."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift.rollout_preview import duration, plan_line, preview_lines, size
from edgelift_contract import codec
from edgelift_contract.assignment import Policy
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.cohorts import Member
from edgelift_fleet.db import ROWS, SITE, Database
from edgelift_fleet.devices import LastSeen, enrol
from edgelift_fleet.messages import PlanOptions, RolloutPreview, RolloutRequest
from edgelift_fleet.rollout.forecast import LATEST, draw_waves, ends
from edgelift_fleet.rollout.observe import cohort_of
from edgelift_fleet.rollout.orders import Rollouts
from edgelift_fleet.rollout.pace import Trait
from edgelift_fleet.rollout.plan import Plan, parse_waves
from edgelift_fleet.rollout.windows import parse_window
from edgelift_fleet.sightings import Caller
from edgelift_fleet.site import Site, load_site
from edgelift_fleet.tables import ArtifactRow, DeviceRow, ReleaseRow, RolloutRow, SlotStateRow
from tests.fleet.conftest import both_engines, make_site

pytestmark = pytest.mark.fleet

ONNX = {"onnxruntime": "1.30.0"}
FACTS = {
    "pi": DeviceFacts("arm64-neon", ["arm64-neon"], ONNX),
    "box": DeviceFacts("x86-64-avx2", ["x86-64-avx2"], ONNX),
    "nano": DeviceFacts("jetson-maxwell", ["jetson-maxwell"], ONNX),
    "bare": DeviceFacts("arm64-neon", ["arm64-neon"], {}),
}
QUICK = Policy(probation_s=60.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Site:
    return load_site(make_site(tmp_path_factory.mktemp("preview") / "site", releases))


class Desk:
    """Rollouts without a server: who enrols is there, and nobody acts."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.rollouts = Rollouts(db, LastSeen(), wake=lambda: None)

    def add(self, *devices: str, online: bool = True) -> None:
        with self.db.write(SITE) as session:
            for device in devices:
                enrol(session, EnrolRequest(schema=1, device=device, facts=FACTS[device.partition("-")[0]]))
                row = session.get_one(DeviceRow, device)
                row.last_seen = time.time() if online else 1.0

    def serves(self, device: str, version: str) -> None:
        with self.db.write(SITE) as session:
            row = session.get_one(DeviceRow, device)
            hardware_class = row.hardware_class
            query = (
                sa.select(ArtifactRow.id, ArtifactRow.manifest_bytes)
                .join(ReleaseRow)
                .where(ReleaseRow.version == version)
            )
            session.merge(SlotStateRow(
                device=device, slot="digits", state="serving", generation=1, model="digits", version=version, since=0.0,
                artifact=self.artifact(hardware_class, version, session), last_update="",
            ))  # fmt: skip
            assert session.execute(query).first() is not None

    @staticmethod
    def artifact(hardware_class: str, version: str, session) -> str:
        body = session.scalars(sa.select(ReleaseRow.body).where(ReleaseRow.version == version)).one()
        return next(a["id"] for a in json.loads(body)["artifacts"] if a["hardware_class"] == hardware_class)

    def ask(self, to: str = "all", release: str = "digits@2", **options: object) -> RolloutPreview:
        return self.rollouts.preview(request(to, release, **options))


def request(to: str = "all", release: str = "digits@2", **options: object) -> RolloutRequest:
    waves = options.pop("waves", ["1", "50%", "100%"])
    return RolloutRequest(release, to, waves, **{"policy": QUICK, "seed": 7, **options})


@pytest.fixture
def desk(made: Site, tmp_path: Path) -> Iterator[Desk]:
    copy = tmp_path / "fleet.db"
    copy.write_bytes(made.database.read_bytes())
    with contextlib.closing(Database(copy)) as db:
        yield Desk(db)


def test_it_names_and_counts_everybody(desk: Desk) -> None:
    desk.add("pi-1", "pi-2", "box-1")
    desk.add("pi-3", online=False)
    desk.add("nano-1", "bare-1")
    desk.serves("pi-2", "2")
    found = desk.ask(seed=3)
    assert (found.cohort, found.offline, found.running) == (6, ["pi-3"], ["pi-2"])
    assert found.classes == {"arm64-neon": 4, "x86-64-avx2": 1, "jetson-maxwell": 1}
    assert {one.device: one.code for one in found.unsuited} == {
        "bare-1": "runtime-missing", "nano-1": "wrong-hardware-class",
    }  # fmt: skip
    assert {(a.hardware_class, a.devices) for a in found.artifacts} == {("arm64-neon", 3), ("x86-64-avx2", 1)}
    assert [(w.reach, w.devices) for w in found.waves] == [("1", 1), ("50%", 2), ("100%", 1)]
    assert sorted(d.device for d in found.devices if d.wave) == ["box-1", "pi-1", "pi-2", "pi-3"]
    one = found.artifacts[0].size_bytes
    assert found.fetch_bytes == 3 * one == sum(w.fetch_bytes for w in found.waves)
    assert found.refusals == []
    text = "\n".join(preview_lines(found))
    for part in (
        "6 devices",
        "1 offline: pi-3",
        "1 run it already: pi-2",
        "1 without an artifact: nano-1",
        "wave 3 of 3",
    ):
        assert part in text


def test_the_draw_that_was_shown_is_the_draw_that_is_made(desk: Desk) -> None:
    desk.add(*(f"pi-{n}" for n in range(1, 9)))
    first = {desk.ask(seed=seed).waves[0].first[0] for seed in range(40)}
    assert len(first) > 3  # a draw, not the lowest id
    found = desk.ask(seed=None)
    assert desk.ask(seed=found.seed).devices == found.devices
    desk.rollouts.start(request(seed=found.seed))
    with desk.db.read() as session:
        assert json.loads(session.scalars(sa.select(RolloutRow.plan)).one())["seed"] == found.seed


def refused(desk: Desk, *arguments: str, **options: object) -> ContractError:
    """What a start is refused with, which is the first of what the preview says."""
    asked = request(*arguments, **options)
    with pytest.raises(ContractError) as error:
        desk.rollouts.start(asked)
    told = desk.rollouts.preview(asked).refusals
    assert [(told[0].error, told[0].code, told[0].hint)] == [
        (error.value.message, error.value.code, error.value.hint)
    ]
    return error.value


def test_nobody_is_selected(desk: Desk) -> None:
    desk.add("pi-1")
    assert "tag:barn selects no device" in refused(desk, "tag:barn").message
    assert "pi-7, pi-8" in refused(desk, "ids:pi-7,pi-8").hint
    assert desk.ask("ids:pi-1,pi-9").unknown == ["pi-9"]


def test_there_is_nothing_for_anybody(desk: Desk) -> None:
    desk.add("nano-1", "bare-1")
    error = refused(desk)
    assert error.code == "runtime-missing" and "nothing for any of the 2 devices" in error.message


def test_an_older_release_needs_the_word(desk: Desk) -> None:
    desk.add("pi-1", "pi-2", "pi-3")
    desk.serves("pi-1", "3")
    desk.serves("pi-2", "1")
    error = refused(desk, "all", "digits@2")
    assert (
        error.code == "older-release"
        and "pi-1 ran a newer release" in error.message
        and "--allow-older" in error.hint
    )
    assert desk.ask(policy=Policy(probation_s=60, allow_older=True)).refusals == []
    assert desk.ask("all", "digits@3").refusals == []  # who serves it already goes nowhere


def test_who_goes_back_by_the_word_is_told_of_the_builders(desk: Desk) -> None:
    desk.add("pi-1", "pi-2")
    desk.serves("pi-1", "3")
    word = Policy(probation_s=0, probation_min_requests=0, allow_older=True)

    def notes(signed: bool | None) -> list[str]:
        desk.rollouts = Rollouts(desk.db, LastSeen(), wake=lambda: None, may_go_back=lambda *_: signed)
        return [one for one in desk.ask(policy=word).cautions if "allow-older" in one]

    (note,) = notes(False)
    assert note.startswith("pi-1 ran a newer release") and note.endswith("edgelift release allow-older digits@2.")
    assert notes(True) == notes(None) == []


def test_two_rollouts_of_one_slot(desk: Desk) -> None:
    desk.add("pi-1", "pi-2", "pi-3")
    made = desk.rollouts.start(request("ids:pi-1,pi-2"))
    error = refused(desk)
    assert error.code == "conflict" and f"{made.id} " in error.message and "pi-1 and 1 more" in error.message
    assert desk.ask().elsewhere == {"pi-1": made.id, "pi-2": made.id}
    assert desk.ask("id:pi-3").refusals == desk.ask(slot="other").refusals == []


def test_it_takes_the_same_statements_for_any_fleet(desk: Desk) -> None:
    counts = []
    for more in (2, 40):
        desk.add(*(f"pi-{more}-{n}" for n in range(more)))
        seen: list[str] = []
        count = lambda _c, _cur, statement, *_: seen.append(statement)  # noqa: E731, B023 - gone with its turn
        sa.event.listen(desk.db.engine, "before_cursor_execute", count)
        desk.ask("tag:x or id:pi-*")
        sa.event.remove(desk.db.engine, "before_cursor_execute", count)
        counts.append(len([s for s in seen if s.startswith("SELECT")]))
    assert counts[0] == counts[1] <= 8


def test_who_joins_late_is_left_out_where_the_plan_says_so(desk: Desk) -> None:
    desk.add("pi-1", "pi-2")
    for late, selected in (("in", 3), ("out", 2)):
        with desk.db.write(ROWS) as session:
            session.execute(sa.update(RolloutRow).values(state="cancelled"))
        made = desk.rollouts.start(request(late_joiners=late))
        desk.add("pi-3")
        with desk.db.write(SITE) as session:
            row = session.get_one(RolloutRow, int(made.id[1:]))
            assert len(cohort_of(session, row, LastSeen(), time.time()).ids) == selected
            session.delete(session.get_one(DeviceRow, "pi-3"))


def test_a_rollout_with_a_start_time_is_scheduled(desk: Desk) -> None:
    desk.add("pi-1")
    made = desk.rollouts.start(request(start_at=time.time() + 3600, name="november", comment="Faster."))
    assert made.state == "scheduled" and made.wave == 0
    assert (made.name, made.seed) == ("november", 7) and made.plan is not None and made.plan.comment == "Faster."
    assert (
        plan_line(made.plan).startswith("name november, comment Faster., start_at ")
        and plan_line(PlanOptions()) == ""
    )
    assert made.events[0].text == "november: digits@2 to all, waves 1,50%,100%. Faster."
    assert desk.ask("all", slot="other", start_at=time.time() + 3600).least_s > 3600


@both_engines
def test_both_engines_tell_the_same(site: Path) -> None:
    with contextlib.closing(Database(load_site(site).database)) as db:
        desk = Desk(db)
        desk.add("pi-1", "pi-2", "box-1", "nano-1")
        desk.serves("pi-1", "3")
        assert refused(desk).code == "older-release"
        with pytest.raises(ContractError) as nul:  # PostgreSQL knows no such text
            desk.ask('tag:a="\0"')
        assert "character 8" in nul.value.message
        made = desk.rollouts.start(request(
            "id:pi-2 or class:x86-*", late_joiners="out", windows=["02:00-04:00"], name="x\0", comment="\x1b[2J",
        ))  # fmt: skip
        assert (made.name, made.plan.comment) == ("x\ufffd", "\ufffd[2J")
        found = desk.ask("not id:pi-1")
        assert found.elsewhere == {"box-1": made.id, "pi-2": made.id} and found.unsuited[0].device == "nano-1"
        with db.read() as session:
            cohort = cohort_of(session, session.get_one(RolloutRow, 1), LastSeen(), time.time())
        assert sorted(cohort.ids) == ["box-1", "pi-2"] == sorted(cohort.traits)


def members(*devices: str) -> list[Member]:
    return [Member(device, "arm64-neon") for device in devices]


def test_waves_reach_everybody_once() -> None:
    plan = Plan(parse_waves(["1", "2", "10%", "100%"]), seed=3)
    waves = draw_waves(plan, members(*(f"d{n}" for n in range(30))))
    assert [len(w) for w in waves] == [1, 1, 1, 27]
    assert len({device for wave in waves for device in wave}) == 30


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [60.0, 120.0]),
        ({"soak_s": 10.0}, [70.0, 140.0]),
        ({"rate_per_min": 1.0}, [60.0, 120.0 + 119.0]),
        ({"bandwidth_bytes_s": 10.0}, [60.0, 120.0 + 19.0]),
        ({"concurrency": 2}, [60.0, 180.0]),
        ({"start_at": 1000.0}, [1060.0, 1120.0]),
        ({"windows": (parse_window("01:00-02:00"),), "timezone": "UTC"}, [3660.0, 3720.0]),
    ],
)
def test_how_long_it_takes_at_least(options: dict, expected: list[float]) -> None:
    """A wave of one, then a wave of three, from midnight of 1970-01-01; a device has a minute of probation."""
    plan = Plan(parse_waves(["1", "100%"]), seed=1, **options)
    traits = {device: Trait(size_bytes=100) for device in "abcd"}
    assert ends(plan, 60.0, [["a"], ["b", "c", "d"]], traits, 0.0) == expected
    assert ends(plan, 60.0, [["x"], ["y"]], {}, 5000.0)[-1] == 5000.0 + 2 * plan.soak_s  # they run it already


def test_a_forecast_ends_before_the_calendar_does() -> None:
    """Beyond the year 9999 a window has no date: the look at such a plan was a fault of the server."""
    plan = Plan(parse_waves(["1", "100%"]), concurrency=1, windows=(parse_window("01:00-02:00"),))
    devices = [str(number) for number in range(5000)]
    found = ends(plan, 1e9, [devices, ["a"]], dict.fromkeys([*devices, "a"], Trait()), 0.0)
    assert found == [LATEST, LATEST]


def test_a_start_that_is_past_is_told(desk: Desk) -> None:
    desk.add("pi-1")
    told = [desk.ask(start_at=at).cautions for at in (0.0, time.time() - 10, 1767225600.0)]
    assert [[text for text in texts if "past" in text] for texts in told] == [
        [], [], ["It was to begin at Thu 2026-01-01 00:00 UTC, which is past: it begins at once."]
    ]  # fmt: skip


def test_ids_that_several_devices_have_are_told(desk: Desk) -> None:
    desk.add("pi-1", "pi-2")
    seen = LastSeen()
    desk.rollouts = Rollouts(desk.db, seen, wake=lambda: None)
    for number in range(6):
        seen.touch("pi-2", "http", Caller(epoch="ab"[number % 2]))
        seen.touch("pi-9", "http", Caller(epoch="ab"[number % 2]))
    assert [text[:36] for text in desk.ask().cautions if "Several" in text] == [
        "Several devices speak as pi-2: each "
    ]
    assert not [text for text in desk.ask(to="id:pi-1").cautions if "Several" in text]


def test_words_for_people() -> None:
    assert [size(n) for n in (0, 999, 28_100_000, 2e12)] == ["0 B", "999 B", "28.1 MB", "2.0 TB"]
    assert [duration(s) for s in (0, 119, 3600, 9000, 190_000)] == [
        "0 s",
        "119 s",
        "60 min",
        "2 h 30 min",
        "2 d 4 h",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"soak_s": 10**30}, {"soak_s": -1}, {"deadline_s": 1e308}, {"max_failures": 2**63}, {"max_failures": -1},
        {"max_failures": "101%"}, {"max_failures": "1e400%"}, {"max_offline": ""}, {"waves": []}, {"waves": ["1e999%"]},
        {"waves": ["100%"] * 101}, {"waves": ["9" * 400, "100%"]}, {"concurrency": 2**64}, {"rate_per_min": 1e300},
        {"bandwidth_bytes_s": -0.1}, {"start_at": 1e18}, {"retries": 2**63}, {"windows": ["x"]}, {"windows": ["22:00"] * 17},
        {"timezone": "Mars/Base"}, {"seed": 2**70}, {"seed": -1}, {"gates": ["luck"]}, {"gate_looks": 0}, {"to": ""},
        {"to": "ids:"}, {"slot": "../x"}, {"comment": "x" * 3000}, {"policy": {"probation_s": 1e30}}, {"colour": "blue"},
        {"waves": "100%"}, {"to": "not " * 200 + "all"},
    ],
    ids=lambda wrong: f"{next(iter(wrong))}",
)  # fmt: skip
def test_a_request_that_is_wrong_is_a_clear_400(desk: Desk, wrong: dict[str, object]) -> None:
    """As the API takes it: each is told apart by its code, and none is a fault of the server."""
    desk.add("pi-1")
    body = {"release": "digits@2", "to": "all", "waves": ["1", "100%"], **wrong}
    with pytest.raises(ContractError) as refused:
        desk.rollouts.preview(codec.decode_json(json.dumps(body).encode(), RolloutRequest, what="request"))
    assert refused.value.code in ("malformed", "bad-id") and len(refused.value.message) < 600
    for text in ('"NaN"', "NaN", "Infinity", "1e999"):
        with pytest.raises(ContractError):
            codec.decode_json(
                f'{{"release":"a@1","to":"all","waves":["100%"],"soak_s":{text}}}'.encode(),
                RolloutRequest,
                what="x",
            )
