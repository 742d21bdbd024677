"""The cases: a source each, fresh data of its kind, and how its true figure is found."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.judging import finding, truth
from benchmarks.judging.truth import Arrays, Truth

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "builder" / "examples"
sys.path[:0] = [str(HERE), str(EXAMPLES)]  # as the sources' own imports find each other

#: (how many, seed) → inputs by name, and what is right.
Fresh = Callable[[int, int], tuple[Arrays, Any]]


@dataclass(frozen=True)
class Case:
    """One source.

    Attributes:
        name, task: what it is; the task is that which a person would name, `values` where there is none.
        source: as a build names it.
        fresh: data that no build saw.
        true: the figure that the report claims.
        count: fresh samples that are asked.
        axes: sample axes, where they aren't the first.
        lower: is less better.
    """

    name: str
    task: str
    source: str
    fresh: Fresh
    true: Truth
    count: int = 4000
    axes: dict[str, int] = field(default_factory=dict)
    lower: bool = False


def _small(file: str, function: str) -> str:
    return f"{HERE / file}.py:{function}"


def _example(file: str, function: str) -> str:
    return f"{EXAMPLES / file}.py:{function}"


def _of(module: str, function: str, name: str = "input", **more: Any) -> Fresh:
    """By a function of a source's module that takes a count and a seed and returns inputs and labels."""

    def fresh(count: int, seed: int) -> tuple[Arrays, Any]:
        made = getattr(__import__(module), function)(count, seed=seed, **more)
        return {name: made[0]}, made[1]

    return fresh


def _drawn(labels: Callable[[Any], Any], count: int, seed: int) -> tuple[Arrays, Any]:
    made = __import__("drawn").draw(count, seed=seed)
    return {"x": made.images}, labels(made)


def _boxes(made: Any) -> Any:
    return [{"boxes": b, "labels": k} for b, k in zip(made.boxes, made.kinds, strict=True)]


def _words(count: int, seed: int) -> tuple[Arrays, Any]:
    module = __import__("keywords")
    sounds, labels = module.synthesise(count, seed=seed)
    return {"x": module.spectrogram(sounds)}, labels


def _sentences(count: int, seed: int) -> tuple[Arrays, Any]:
    said = __import__("sentences").write(count, seed=seed)[0]
    return {"input_ids": said, "attention_mask": (said != 0).astype("int64")}, None


def _state(count: int, seed: int) -> tuple[Arrays, Any]:
    return __import__("spread").with_state(count, seed), None


_STATE = {"h": 1, "output_1": 1}

CASES = (
    Case("door", "binary", _example("door", "motion"), _of("door", "sense"), truth.above(0.5)),
    Case("keywords", "classification", _example("keywords", "tones"), _words, truth.accuracy, 3000),
    Case("pump", "anomaly", _example("pump", "sound"), _of("pump", "listen", odd_share=0.2), truth.rebuilt),
    Case(
        "speed",
        "regression",
        _example("sensor", "speed"),
        _of("sensor", "record", "x"),
        truth.absolute,
        lower=True,
    ),
    Case("sentences", "embedding", _example("sentences", "meaning"), _sentences, truth.near_float, 2000),
    Case(
        "tagger",
        "multilabel",
        _example("tagger", "shapes"),
        partial(_drawn, lambda m: m.present),
        truth.several_labels,
        2000,
    ),
    Case(
        "segmenter",
        "segmentation",
        _example("segmenter", "shapes"),
        partial(_drawn, lambda m: m.pixels),
        truth.union,
        800,
    ),
    Case(
        "detector", "detection", _example("detector", "shapes"), partial(_drawn, _boxes), finding.two_outputs, 1500
    ),
    Case("marked", "classification", _small("choices", "marked"), _of("choices", "classes"), truth.accuracy),
    Case(
        "inside",
        "classification",
        _small("choices", "inside"),
        _of("choices", "classes", "x"),
        truth.chosen_inside,
    ),
    Case(
        "logits",
        "values",
        _small("choices", "unlabelled_logits"),
        _of("choices", "classes"),
        truth.worst_channel,
        lower=True,
    ),
    Case(
        "shares",
        "classification",
        _small("choices", "unlabelled_shares"),
        _of("choices", "classes"),
        truth.same_class,
    ),
    Case("likelihood", "own metric", _small("choices", "own_share"), _of("choices", "classes"), truth.likelihood),
    Case("rare", "classification", _small("choices", "rare"), _of("choices", "seldom"), truth.balanced, 8000),
    Case("logit", "binary", _small("choices", "logit"), _of("choices", "sides"), truth.above(0.0)),
    Case(
        "heads",
        "classification",
        _small("choices", "two_heads"),
        _of("choices", "kinds_and_sizes", "x"),
        truth.of_named,
    ),
    Case(
        "stations",
        "regression",
        _small("amounts", "stations"),
        _of("amounts", "weather", "x"),
        truth.by_spread,
        lower=True,
    ),
    Case(
        "counts", "regression", _small("amounts", "counts"), _of("amounts", "visits"), truth.absolute, lower=True
    ),
    Case(
        "pinball",
        "own metric",
        _small("amounts", "own_error"),
        _of("amounts", "visits"),
        truth.pinball,
        lower=True,
    ),
    Case(
        "points",
        "keypoints",
        _small("amounts", "points"),
        _of("amounts", "stars", "x"),
        truth.by_size,
        2000,
        lower=True,
    ),
    Case("pupil", "embedding", _small("amounts", "pupil"), _of("amounts", "vectors"), truth.near),
    Case("oddity", "anomaly", _small("amounts", "oddity"), _of("amounts", "odd_ones"), truth.own_score),
    Case(
        "several",
        "values",
        _small("amounts", "several_numbers"),
        _of("amounts", "weather", "x"),
        truth.worst_channel,
        lower=True,
    ),
    Case("tags", "sequence", _small("spread", "tags"), _of("spread", "frames", "x"), truth.every_place, 2000),
    Case("mask", "segmentation", _small("spread", "mask"), _of("spread", "blots"), truth.mask_union, 1000),
    Case(
        "boxes",
        "detection",
        _small("spread", "labelled_boxes"),
        _of("spread", "scenes", "x"),
        finding.one_output,
        1500,
    ),
    Case(
        "unlabelled",
        "detection",
        _small("spread", "unlabelled_boxes"),
        _of("spread", "scenes", "x"),
        finding.as_float,
        1500,
    ),
    Case(
        "listener", "values", _small("spread", "listener"), _state, truth.worst_channel, 1000, _STATE, lower=True
    ),
)
