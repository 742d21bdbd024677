"""`--search`: tries recipes that no file names, for as long as it may, and keeps those worth having.

For each target an Optuna study (tree-structured Parzen estimator for several objectives: Y. Ozaki et al., GECCO 2020)
proposes steps and their options; each proposal is made, run on the samples that choose and timed against float like
any candidate. Objectives: points lost, size, and where this machine can measure the target, latency. What keeps the
budget there and no other trial beats in everything joins the recipe's own candidates; they are measured together, peak
memory too, every gate is still before them, and the report marks the Pareto set of all.

A trial looks at calibration samples (see `source.held_out`): the verdict on the best of many would be better than it should
be on the samples that they were compared by. Those are the evaluation samples only where the source has no others to spare;
the report says so, and how many trials there were.

Not its business: how a candidate is made or measured; the caller gives the function that does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edgelift_builder.candidate import Examined, Failed, Outcome, reached
from edgelift_builder.measure.runtimes import RUNTIMES
from edgelift_builder.pareto import Objectives, pareto
from edgelift_builder.recipe import StepCall, Variant, Where
from edgelift_builder.targets import Target
from edgelift_contract.manifest import Format

if TYPE_CHECKING:
    import optuna


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe that was tried.

    Attributes:
        target, variant, format: what it was called; steps: with their options, in order.
        reason: why it could not be made; empty when it could.
        loss, size_bytes, float_ratio: what came of it; `float_ratio` from a short run.
        kept: did it join the candidates.
    """

    target: str
    variant: str
    format: str
    steps: list[str]
    reason: str = ""
    loss: float | None = None
    size_bytes: int | None = None
    float_ratio: float | None = None
    kept: bool = False


class Chooser(Protocol):
    """What a proposal is drawn from; an `optuna.Trial` is one."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of `choices`."""


def explore(
    target: Target,
    formats: tuple[str, ...],
    where: Collection[Where],
    attempt: Callable[[Variant], Outcome],
    seconds: float,
) -> tuple[list[Examined], list[Trial]]:
    """Try recipes for one target until `seconds` have passed; the trial under way is finished.

    Args:
        target: for whom.
        formats: what the source can become.
        where: which conditions of variants hold, see `choose.conditions`.
        attempt: makes, runs and measures a variant.
        seconds: how long new trials may be begun.

    Returns:
        The candidates worth keeping, and every trial.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.TPESampler(seed=0))
    seen: dict[tuple[str, ...], Outcome] = {}
    repeats, end = 0, monotonic() + seconds
    kinds = families(target, formats, where)
    while kinds and monotonic() < end and repeats < _REPEATS:
        trial = study.ask()
        format_name, calls = propose(trial, kinds, formats)
        key = tuple(_call_text(call) for call in calls)
        repeats = repeats + 1 if key in seen else 0
        if key not in seen:
            name = f"search-{len(seen) + 1:02d}"
            seen[key] = attempt(Variant(name, format_name, calls))
        _learn(study, trial, seen[key])
    return _outcome(list(seen.values()))


#: So many proposals in a row that were tried before mean that there is hardly anything else.
_REPEATS = 40


#: What ends a proposal → its format, and the conditions of which one must hold, as recipes have it: a target is offered
#: only what it computes in.
_FAMILIES: dict[str, tuple[Format, set[Where]]] = {
    "static": ("onnx", {"int8"}),
    "dynamic": ("onnx", {"int8"}),
    "weight-only": ("onnx", {"int8", "memory", "no-data"}),
    "fp16": ("onnx", {"float16"}),
    "litert": ("tflite", {"int8"}),
}


def families(target: Target, formats: tuple[str, ...], where: Collection[Where]) -> list[str]:
    """What a proposal may end with: only what the target computes in, and has a scheme and a runtime for."""
    return [
        family
        for family, (format_name, needs) in _FAMILIES.items()
        if format_name in formats
        and RUNTIMES[format_name] in target.runtimes
        and needs & {*where}
        and (family not in ("static", "dynamic") or "onnxruntime" in target.int8)
    ]


def propose(trial: Chooser, kinds: Sequence[str], formats: tuple[str, ...]) -> tuple[Format, list[StepCall]]:
    """A format and the steps to it, ending with one of `kinds`."""
    family = trial.suggest_categorical("family", kinds)
    calls = [StepCall("export-tflite" if family == "litert" else "export-onnx")]
    if "torchscript" in formats and trial.suggest_categorical("pruned", (False, False, True)):
        # Only a module can be pruned, and a module is what TorchScript is made of.
        amount = trial.suggest_categorical("amount", (0.1, 0.2, 0.3, 0.5))
        calls = [StepCall("prune-channels", {"amount": amount}), *calls]
    return _FAMILIES[family][0], [*calls, _last_step(trial, family)]


def _last_step(trial: Chooser, family: str) -> StepCall:
    if family == "static":
        options = {
            "calibration": trial.suggest_categorical("calibration", ("minmax", "percentile", "entropy")),
            "granularity": trial.suggest_categorical("granularity", ("tensor", "channel")),
            "revert": trial.suggest_categorical("revert", (0, 2, 8)),
        }
        if options["calibration"] == "percentile":
            options["percentile"] = trial.suggest_categorical("percentile", (99.9, 99.99, 99.999))
        return StepCall("static-int8", options)
    if family == "dynamic":
        return StepCall(
            "dynamic-int8-onnx", {"per_channel": trial.suggest_categorical("per_channel", (False, True))}
        )
    if family == "weight-only":
        bits, group = trial.suggest_categorical("bits", (4, 8)), trial.suggest_categorical("group", (32, 128))
        return StepCall("weight-only", {"bits": bits, "group": group})
    return StepCall({"fp16": "fp16", "litert": "tflite-static-int8"}[family])


def objectives(candidate: Examined) -> Objectives:
    """What a candidate costs. Its latency is a share of float's, which was timed in the same run: times of different
    runs are not to be compared.
    """
    ratio = _ratio(candidate)
    return Objectives(candidate.judgement.loss, candidate.size_bytes, 1 / ratio if ratio else None)


def _ratio(candidate: Examined) -> float | None:
    return candidate.known_ratio.value if candidate.known_ratio else None


def _learn(study: optuna.Study, trial: optuna.Trial, outcome: Outcome) -> None:
    import optuna

    if isinstance(outcome, Failed):
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    found = objectives(outcome)
    study.tell(trial, [found.lost_pp, found.size_bytes, found.latency_us or 1.0])  # unmeasured: all alike


def _outcome(tried: list[Outcome]) -> tuple[list[Examined], list[Trial]]:
    ran = {c.variant.name: c for c in tried if isinstance(c, Examined)}
    kept = pareto(
        {
            name: objectives(c)
            for name, c in ran.items()
            if all(j.loss <= j.budget for j in c.judgements) and not c.opinion.a_class_is_gone
        }
    )
    trials = [_trial(outcome, kept) for outcome in tried]
    return [c for name, c in ran.items() if name in kept], trials


def _trial(outcome: Outcome, kept: set[str]) -> Trial:
    candidate = reached(outcome)
    ran = candidate if isinstance(candidate, Examined) else None
    ratio = _ratio(ran) if ran else None
    return Trial(
        target=candidate.target.name,
        variant=candidate.variant.name,
        format=candidate.variant.format,
        steps=[_call_text(call) for call in candidate.variant.steps],
        reason=outcome.error.message if isinstance(outcome, Failed) else "",
        loss=ran.judgement.loss if ran else None,
        size_bytes=ran.size_bytes if ran else None,
        float_ratio=round(ratio, 4) if ratio else None,
        kept=candidate.variant.name in kept,
    )


def _call_text(call: StepCall) -> str:
    options = ", ".join(f"{name} = {value}" for name, value in call.options.items())
    return f"{call.step} ({options})" if options else call.step
