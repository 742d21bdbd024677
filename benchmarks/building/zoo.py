"""The models that the build is measured on, and which variants of each are compared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

EXAMPLES = Path(__file__).parent.parent.parent / "builder" / "examples"

#: What the default recipe tells models apart by.
Family = Literal["cnn", "transformer", "recurrent", "mlp"]

#: Variants: name → format and steps.
Steps = dict[str, tuple[str, str]]


def _onnx(name: str, step: str) -> Steps:
    """A variant that does `step` to the exported graph."""
    return {name: ("onnx", f'"export-onnx", {step}')}


def _module(name: str, step: str) -> Steps:
    """A variant that changes the module first, and then quantises its graph."""
    last = '{ step = "static-int8", calibration = "percentile", revert = 4 }'
    return {name: ("onnx", f'{step}, "export-onnx", {last}')}


_TENSOR = _onnx("int8-static-tensor", '{ step = "static-int8", granularity = "tensor", revert = 4 }')
_PERCENTILE = _onnx("int8-static-percentile", '{ step = "static-int8", calibration = "percentile", revert = 4 }')
_ENTROPY = _onnx("int8-static-entropy", '{ step = "static-int8", calibration = "entropy", revert = 4 }')
_DYNAMIC = _onnx("int8-dynamic", '"dynamic-int8-onnx"')
_FP16 = _onnx("fp16", '"fp16"')
_WEIGHTS = _onnx("int8-weight-only", '{ step = "weight-only", bits = 8, group = 32 }') | _onnx(
    "int4-weight-only", '{ step = "weight-only", bits = 4, group = 32 }'
)
_PRUNED = (
    _module("pruned-int8", '{ step = "prune-channels", amount = 0.2 }')
    | _module("sparse-int8", '{ step = "prune-weights", pattern = "2:4" }')
    | _module("qat-int8", '"quantisation-aware"')
)
_SHALLOW = _module("shallow-int8", '{ step = "prune-layers", count = 1 }') | _module(
    "distilled-int8", '{ step = "prune-channels", amount = 0.2 }, { step = "distil", epochs = 10 }'
)
_HALVED: Steps = {
    "shallow-int8": (
        "onnx",
        '{ step = "prune-layers", count = 1 }, { step = "distil", epochs = 20 }, "export-onnx", "dynamic-int8-onnx"',
    )
}
_SMALL = _TENSOR | _PERCENTILE | _FP16


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name, source, family: what it is; the source is a file and function of `builder/examples`.
        extra: variants that are made besides those of the family's default recipe.
        budget_pp: most that it may lose; 0.5 points can be shown to hold with 765 samples or more, so models
            with fewer declare what theirs can show.
    """

    name: str
    source: str
    family: Family
    extra: Steps
    budget_pp: float = 0.5

    @property
    def path(self) -> str:
        """As `edgelift build` takes it."""
        return str(EXAMPLES / self.source)


ZOO = (
    Entry("simplecnn", "simplecnn.py:digits", "cnn", _SMALL | _ENTROPY | _DYNAMIC | _WEIGHTS | _PRUNED),
    Entry("resnet8", "resnet8.py:digits", "cnn", _SMALL | _SHALLOW),
    Entry("dscnn", "dscnn.py:digits", "cnn", _SMALL),
    Entry("mlp", "mlp.py:breast_cancer", "mlp", _SMALL | _WEIGHTS, budget_pp=1.5),
    Entry("gru", "gru.py:digits", "recurrent", _FP16),
    Entry("lstm", "lstm.py:digits", "recurrent", _FP16),
    Entry("vit", "vit.py:digits", "transformer", _WEIGHTS | _HALVED),
    Entry("sentence", "sentence.py:votes", "transformer", _WEIGHTS),
    Entry("resnet18", "fullsize.py:resnet18", "cnn", _TENSOR),
    Entry("mobilenetv2", "fullsize.py:mobilenetv2", "cnn", _TENSOR),
    Entry("bert6", "fullsize.py:bert6", "transformer", {}),
)
