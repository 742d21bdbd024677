"""The Pareto picture: who dominates whom, letters that cover nothing, and what is said of the first."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import msgspec
import pytest

from edgelift_contract import codec
from edgelift_contract.histogram import Histogram
from edgelift_contract.manifest import Evidence, Manifest, Measurement, parse_manifest
from edgelift_contract.release import Release, ReleaseArtifact
from edgelift_fleet.console.pages.pareto import BOTTOM, LEFT, RIGHT, TOP, ParetoDot, draw, kinds, steps
from edgelift_fleet.console.pages.release_artifacts import boards_of, letter_of
from tests.fleet.releases import make_release


def test_dominated_ones_are_those_that_another_beats() -> None:
    dots = [
        ParetoDot("A", 3, 0.90, 0, True),
        ParetoDot("B", 2, 0.95, 0, False),
        ParetoDot("C", 9, 0.99, 0, False),
        ParetoDot("D", 9, 0.95, 0, False),
    ]
    assert kinds(dots) == ["first-dominated", "edge", "edge", "dominated"]
    assert kinds([ParetoDot("A", 1, 1, 0, True), ParetoDot("B", 1, 1, 0, False)]) == ["first", "edge"]


@pytest.mark.parametrize("seed", range(20))
def test_letters_cover_no_mark_and_no_letter(seed: int) -> None:
    rng = random.Random(seed)
    dots = [
        ParetoDot(letter_of(n), rng.choice([3.6e5, 3.7e5, 1.3e6]), rng.choice([0.98, 0.981]), 0.016, not n)
        for n in range(9)
    ]
    drawn = draw(dots, str, str)
    for one, other in itertools.combinations(drawn.marks, 2):
        assert abs(one.letter_x - other.letter_x) >= 11.9 or abs(one.letter_y - other.letter_y) >= 13.9
    for one, other in itertools.product(drawn.marks, drawn.marks):
        assert abs(one.letter_x - other.x) >= 10.8 or abs(one.letter_y - other.y) >= 11.8
    assert all(LEFT <= m.x <= RIGHT and TOP <= m.y <= BOTTOM for m in drawn.marks)


def test_one_alone_and_many_times_as_slow_are_drawn() -> None:
    assert len(draw([ParetoDot("A", 0.0, 0.0, 0.0, True)], str, str).marks) == 1
    wide = draw([ParetoDot("A", 10, 0.9, 0, True), ParetoDot("B", 5000, 0.9, 0, False)], str, str)
    assert len(wide.across) <= 6 and wide.marks[-1].kind == "first"
    assert steps(0.0, 1.0, 4) == [0.0, 0.5, 1.0]


def test_boards_with_the_same_artifacts_stand_together_and_words_say_what_was_measured(tmp_path: Path) -> None:
    release = make_release(tmp_path / "r", "1", classes=("arm64-neon", "arm64-dotprod"), salt="")
    manifests = {
        one.id: parse_manifest((tmp_path / "r" / "manifests" / one.id).read_bytes()) for one in release.artifacts
    }
    both = boards_of(release, manifests)
    assert [one.boards for one in both] == [["arm64-neon (test)", "arm64-dotprod (test)"]]
    assert both[0].picture is None and both[0].speed == "Speed unmeasured on this class."
    judged = Evidence(
        "accuracy", 0.97, 0.95, 0.99, 500, codec.digest(b"data"), 0.98, "x86-64-vnni", "onnxruntime 1.32.0"
    )
    told = {id_: msgspec.structs.replace(one, evidence=[judged]) for id_, one in manifests.items()}
    pictured = boards_of(release, told)[0]
    assert (
        pictured.axis == "size"
        and pictured.lines[0].kind == "first"
        and pictured.lines[0].judged_on == "x86-64-vnni"
    )
    assert "1.0 points lost" in pictured.verdict


def test_speed_that_was_measured_on_the_class_is_the_axis(tmp_path: Path) -> None:
    release, manifests = timed(tmp_path, "arm64-neon")
    found = boards_of(release, manifests)[0]
    assert found.axis == "p50 latency" and found.lines[0].p50_us == pytest.approx(900, rel=0.03)
    assert found.speed.startswith("Speed measured on arm64-neon")
    release, manifests = timed(tmp_path, "x86-64-vnni")
    elsewhere = boards_of(release, manifests)[0]
    assert elsewhere.axis == "size" and "unmeasured on this class: the times are of x86-64-vnni" in elsewhere.speed


def timed(folder: Path, where: str) -> tuple[Release, dict[str, Manifest]]:
    """A release for arm64-neon that was timed and judged."""
    made = make_release(folder / where, "1", classes=("arm64-neon",))
    entry: ReleaseArtifact = made.artifacts[0]
    times = Histogram()
    times.record_all([900.0] * 50)
    entry = msgspec.structs.replace(
        entry, measurement=Measurement(entry.id, where, "onnxruntime 1.32.0", times.to_data())
    )
    manifest = parse_manifest((folder / where / "manifests" / entry.id).read_bytes())
    judged = Evidence("accuracy", 0.97, 0.95, 0.99, 500, codec.digest(b"data"), 0.98, where, "onnxruntime 1.32.0")
    return (
        msgspec.structs.replace(made, artifacts=[entry]),
        {entry.id: msgspec.structs.replace(manifest, evidence=[judged])},
    )
