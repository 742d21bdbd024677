"""The gates as rules: what is a gain and what chance could have shown, on figures made up for the purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgelift_builder import gates
from edgelift_builder.candidate import Candidate, Examined, Failed, Rejected, Shipped
from edgelift_builder.judge import advice
from edgelift_builder.judge.judgement import Judgement
from edgelift_builder.judge.panel import Opinion
from edgelift_builder.measure.examine import Examination
from edgelift_builder.measure.golden import Nearness
from edgelift_builder.measure.latency import Latency, Ratio
from edgelift_builder.measure.runtimes import ModelSpec
from edgelift_builder.piece import Piece
from edgelift_builder.recipe import StepCall, Variant
from edgelift_builder.targets import Target, load_target
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import HardwareClass
from edgelift_contract.histogram import Histogram
from edgelift_contract.manifest import SessionOptions

pytestmark = pytest.mark.builder

TARGET = load_target("x86-64-vnni")


def candidate(
    variant: str, size: int, ratio: Ratio | None, *, target: Target = TARGET, on: HardwareClass = "x86-64-vnni"
) -> Examined:
    """One that was made, runs, and loses nothing beyond doubt; timed on a machine of class `on`."""
    folder = Path("nowhere")  # the gates look at no file
    piece = Piece("onnx", "k", folder, (("model.onnx", "model"),))
    spec = ModelSpec("onnxruntime", piece.model_path, SessionOptions(), ("x",), ("y",), batch_free=True)
    judgement = Judgement(
        "accuracy", "points", 2000, 1.0, 0.99, 1.0, 1.0, 0.0, -0.1, 0.1, 0.5, 0, 0, "none", "holds"
    )
    examined = (
        Candidate(target, Variant(variant, "onnx", [StepCall("export-onnx")]))
        .made(piece, spec, size)
        .examined(
            Examination(folder, folder, 16, 0.0, Nearness(1e-3, 0.0, 0.0, argmax=True)), Opinion((judgement,))
        )
    )
    latency = Latency(100.0, 120.0, 300, Histogram().to_data())
    return examined.measured(latency, ratio, None, on) if ratio else examined


@pytest.mark.parametrize(
    ("distance", "words"),
    [(0.25, "by 25 % of their range."), (float("inf"), "in a shape, a text, or where one is NaN")],
)
def test_how_a_float_one_differs_is_said(distance: float, words: str) -> None:
    made = candidate("float32", 1000, None)
    far = replace(made, examination=replace(made.examination, float_distance=distance))
    (decided,) = gates.decide([far], accept=False)
    assert isinstance(decided, Rejected) and words in decided.reason


@pytest.mark.parametrize(
    ("size", "ratio", "ships"),
    [
        (400, Ratio(1.0, 0.99, 1.01), True),
        (940, Ratio(0.7, 0.6, 0.8), True),
        (960, Ratio(1.04, 1.035, 1.05), True),
        (960, Ratio(1.5, 0.9, 2.1), False),
        (960, Ratio(1.04, 1.01, 1.07), False),
        (1000, Ratio(1.0, 0.99, 1.01), False),
        (940, None, True),
        (960, None, False),
    ],
)
def test_smaller_or_faster_beyond_chance(size: int, ratio: Ratio | None, ships: bool) -> None:
    both = [candidate("float32", 1000, Ratio(1.0, 1.0, 1.0)), candidate("int8", size, ratio)]
    first, second = gates.decide(both, accept=False)
    assert isinstance(first, Shipped) and isinstance(second, Shipped) == ships
    assert second.code == ("" if ships else "no-gain")
    if not ships:
        assert f"{size} against 1000 bytes" in second.reason
        assert ratio is None or f"({ratio.low:.2f} to {ratio.high:.2f})" in second.reason
    (accepted,) = [one for one in gates.decide(both, accept=True) if one.candidate is both[1]]
    assert isinstance(accepted, Shipped) and accepted.code == second.code


def test_what_failed_is_rejected_even_when_accepted() -> None:
    failed = Failed(candidate("int8", 400, None), ContractError("golden-mismatch", "It answers otherwise."))
    (decided,) = gates.decide([failed], accept=True)
    assert isinstance(decided, Rejected) and (decided.code, decided.reason) == (
        "golden-mismatch",
        "It answers otherwise.",
    )


def test_a_float_variant_holds_by_being_the_float_model() -> None:
    few = candidate("float32", 1000, None)
    judgement = replace(few.judgement, verdict="cannot-tell")
    (decided,) = gates.decide([replace(few, opinion=Opinion((judgement,)))], accept=False)
    assert isinstance(decided, Shipped) and decided.verdict == "holds"
    (other,) = gates.decide([replace(candidate("int8", 400, None), opinion=Opinion((judgement,)))], accept=True)
    assert isinstance(other, Shipped) and (other.verdict, other.code) == ("cannot-tell", "not-enough-data")


@pytest.mark.parametrize(
    ("float_us", "int8_us", "first"), [(4.0, 5.0, "float32"), (5.0, 4.0, "int8"), (None, None, "int8")]
)
def test_the_fastest_measured_is_first_and_int8_where_nothing_was(
    float_us: float | None, int8_us: float | None, first: str
) -> None:
    both = []
    for variant, precision, p50_us in (("float32", "float32", float_us), ("int8", "int8", int8_us)):
        made = candidate(variant, 1000, None)
        made = replace(made, piece=replace(made.piece, precision=precision))
        if p50_us:
            made = made.measured(Latency(p50_us, p50_us, 200, Histogram().to_data()), None, None, "x86-64-vnni")
        both.append(Shipped(made, "", ""))
    for order in (both, both[::-1]):
        assert gates.rank(order)[0].candidate.variant.name == first


SLOWER, FASTER, ABOUT = Ratio(0.7, 0.6, 0.8), Ratio(1.4, 1.3, 1.5), Ratio(1.02, 1.0, 1.04)


@pytest.mark.parametrize(("ratio", "ships"), [(SLOWER, False), (ABOUT, False), (FASTER, True)])
def test_without_vnni_eight_bits_win_beyond_chance_or_stay_out(ratio: Ratio, ships: bool) -> None:
    avx2 = load_target("x86-64")
    both = [candidate("float32", 1000, Ratio(1.0, 1.0, 1.0), target=avx2, on="x86-64-avx2")]
    narrow = candidate("int8", 250, ratio, target=avx2, on="x86-64-avx2")
    both.append(replace(narrow, piece=replace(narrow.piece, precision="int8")))
    _, decided = gates.decide(both, accept=False)
    assert isinstance(decided, Shipped) == ships and decided.code == ("" if ships else "no-gain")
    assert ships or f"{ratio.value:.2f}× as fast" in decided.reason
    # What only stores its weights so computes in float: there smaller is a gain, and slower is none.
    stored = replace(both[1], piece=replace(both[1].piece, widened=True))
    _, decided = gates.decide([both[0], stored], accept=False)
    assert isinstance(decided, Shipped) == (ratio is not SLOWER)


def test_a_time_by_other_instructions_is_no_gain_and_ranks_nothing() -> None:
    """Timed where VNNI is, for the class without it."""
    avx2 = load_target("x86-64")
    whole = candidate("float32", 1000, Ratio(1.0, 1.0, 1.0), target=avx2)
    quick = candidate("int8", 990, FASTER, target=avx2)
    slow = candidate("int8", 250, SLOWER, target=avx2)
    assert [one.code for one in gates.decide([whole, quick], accept=False)] == ["", "no-gain"]
    assert [one.code for one in gates.decide([whole, slow], accept=False)] == ["", ""]
    slow = replace(slow, piece=replace(slow.piece, precision="int8"))
    ranked = gates.rank([Shipped(whole, "", ""), Shipped(slow, "", "")])
    assert [one.candidate.variant.name for one in ranked] == ["float32", "int8"]  # the target's own order
    assert slow.known_latency is None and slow.known_ratio is None


def test_what_was_measured_comes_before_what_was_not() -> None:
    measured = Shipped(candidate("float32", 1000, Ratio(1.0, 1.0, 1.0)), "", "")
    unmeasured = candidate("int8", 250, None)
    unmeasured = replace(unmeasured, piece=replace(unmeasured.piece, precision="int8"))
    for order in ([measured, Shipped(unmeasured, "", "")], [Shipped(unmeasured, "", ""), measured]):
        assert gates.rank(order)[0] is measured


def test_more_samples_are_no_way_on_for_what_lies_over_its_budget() -> None:
    judged = Judgement(
        "accuracy", "points", 1200, 0.9067, 0.889, 0.922, 0.915, 0.83, 0.21, 1.62, 0.5, 15, 5, "", "cannot-tell"
    )
    assert advice.too_few([judged]).endswith(
        "More samples like these would likely show that it does not. Give it more room with --budget 1.62, or "
        "ship it as it is with --accept."
    )
