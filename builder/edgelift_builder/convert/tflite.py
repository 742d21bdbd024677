"""The source as TFLite, by litert-torch; a TFLite file as it came. Its shapes are fixed: one sample at a time."""

from __future__ import annotations

import keyword
import shutil
from pathlib import Path
from typing import Any

from edgelift_builder.convert import traced_parts
from edgelift_builder.convert.export_refusal import explain
from edgelift_builder.facts import SourceFacts
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
from edgelift_builder.source import tflite_graph
from edgelift_builder.source.file_model import FileModel
from edgelift_builder.source.held import module
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

MODEL = "model.tflite"
RUNTIME_RANGE = ">=2.0"


class ExportTflite:
    """source → TFLite with batch 1; the signature's names are the contract's."""

    name = "export-tflite"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """No options."""
        return check_options(self.name, options, {})

    def requires(self, piece: Piece) -> None:
        """Only the source can be exported."""
        demand(self.name, piece, "source")

    def run(self, piece: Piece, _settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Export in the child.

        Raises:
            ContractError: `unsupported-operator` or `conversion-failed`.
        """
        kind = context.child.call(
            export, piece.handle, context.facts, str(folder / MODEL), on_failure=on_step_failure(self.name)
        )
        precision = "int8" if context.facts.quantised else kind
        # LiteRT widens weights in float16 itself.
        made = Piece("tflite", "", folder, ((MODEL, "model"),), precision, widened=precision == "float16")
        return StepOutput(made, changed=True)

    def ensures(self, _before: Piece, result: StepOutput) -> None:
        """A TFLite flatbuffer."""
        check_flatbuffer(self.name, result.piece.model_path)


def check_flatbuffer(step: str, path: Path) -> None:
    """Refuse what does not carry the identifier `TFL3` (tensorflow/compiler/mlir/lite/schema/schema.fbs).

    Raises:
        ContractError: `step-failed`.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise failed(step, "what it wrote is not a TFLite file")


def export(handle: str, facts: SourceFacts, path: str) -> str:
    """In the child: convert a module with one sample as its shape, or take the source's own TFLite file; return which floats
    its weights are in.
    """
    model = module(handle)
    if isinstance(model, FileModel):
        shutil.copyfile(model.path, path)
        return tflite_graph.float_kind(tflite_graph.read(model.path))
    free = [s.name for s in facts.inputs if any(n == -1 for k, n in enumerate(s.shape) if k != facts.axes[s.name])]
    if free:
        raise ContractError(
            "conversion-failed",
            f"{', '.join(free)} of the model may have any length; a TFLite file made of a module has the example's alone.",
            hint="Give samples of one length, or ship ONNX.",
        )
    odd = [s.name for s in facts.inputs if not s.name.isidentifier() or keyword.iskeyword(s.name)]
    if odd:
        raise ContractError(
            "conversion-failed",
            f"The converter to TFLite takes no inputs called {', '.join(odd)}: it writes them as names of Python's.",
            hint="Call them otherwise, or ship ONNX.",
        )
    from edgelift_builder.convert.attention import mask_as_given
    from edgelift_builder.convert.padding import PaddingInNumbers
    from edgelift_builder.source import tensors

    try:
        import litert_torch

        traced_parts.for_tflite()
        with PaddingInNumbers(), mask_as_given():
            converted = litert_torch.convert(tensors.by_name(model), sample_kwargs=tensors.example())
        converted.export(path)
    except Exception as error:
        raise explain(error, "TFLite") from error
    return tflite_graph.float_kind(tflite_graph.read(Path(path)))
