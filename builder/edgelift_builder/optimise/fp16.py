"""Half precision: an ONNX graph's weights and computation in 16-bit floats, its inputs and outputs as they were.

Half the size everywhere. Faster only where the processor computes in fp16 (ARMv8.2 with `asimdhp`, GPUs):
elsewhere onnxruntime puts casts around each operator, and the measured gate decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder.convert import strip
from edgelift_builder.optimise import prepare
from edgelift_builder.piece import Piece, graph_files
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError


class Fp16:
    """float ONNX → fp16 ONNX with float32 inputs and outputs."""

    name = "fp16"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """No options."""
        return check_options(self.name, options, {})

    def requires(self, piece: Piece) -> None:
        """Only a float ONNX graph that is not in float16 yet."""
        demand(self.name, piece, "onnx")
        if piece.precision == "float16":
            raise ContractError(
                "step-failed", "The model came in float16: there is nothing for the step fp16 to do."
            )

    def run(self, piece: Piece, _settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Convert in the child.

        Raises:
            ContractError: `conversion-failed`.
        """
        files = context.child.call(
            convert, str(piece.model_path), str(folder), on_failure=on_step_failure(self.name)
        )
        roles = graph_files(files)
        made = Piece("onnx", "", folder, roles, precision="float16")
        return StepOutput(made, changed=True)

    def ensures(self, before: Piece, result: StepOutput) -> None:
        """Smaller than before."""
        sizes = [sum((p.folder / path).stat().st_size for path, _ in p.files) for p in (before, result.piece)]
        if sizes[1] >= sizes[0]:
            raise failed(self.name, "the fp16 graph is not smaller than the float graph")


def convert(model: str, folder: str) -> list[str]:
    """In the child: write the fp16 graph; return its files."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    out = Path(folder)
    ready = prepare.prepare(Path(model), out)
    made = convert_float_to_float16(onnx.load(ready), keep_io_types=True, disable_shape_infer=False)
    raw = out / "raw.onnx"
    onnx.save(made, raw)
    files = strip.store(raw, out)
    for path in (ready, raw):
        path.unlink()
    return files
