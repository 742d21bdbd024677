"""The source as ONNX, by `torch.onnx.export(dynamo=True)`, with a free batch axis; an ONNX file as it came."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgelift_builder.calls import Axes
from edgelift_builder.convert import float_kind, traced_parts
from edgelift_builder.convert.export_refusal import explain, fixed_batch
from edgelift_builder.facts import SourceFacts
from edgelift_builder.piece import Piece, graph_files
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, on_step_failure
from edgelift_builder.source.file_model import FileModel
from edgelift_builder.source.held import module
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

#: The first with `Gelu` as one operator; onnxruntime has read it since 1.17 ; see `onnx_versions`.
OPSET = 20


class ExportOnnx:
    """source → ONNX: graph and weights as two files, without paths."""

    name = "export-onnx"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """No options; the opset is ours."""
        return check_options(self.name, options, {}) | {"opset": OPSET}

    def requires(self, piece: Piece) -> None:
        """Only the source can be exported."""
        demand(self.name, piece, "source")

    def run(self, piece: Piece, settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Export in the child.

        Raises:
            ContractError: `unsupported-operator` or `conversion-failed`.
        """
        files = context.child.call(
            export,
            piece.handle,
            context.facts,
            str(folder),
            settings["opset"],
            on_failure=on_step_failure(self.name),
        )
        roles = graph_files(files)
        precision = "int8" if context.facts.quantised else float_kind.of_file(folder / files[0])
        return StepOutput(Piece("onnx", "", folder, roles, precision), changed=True)

    def ensures(self, _before: Piece, result: StepOutput) -> None:
        """A valid graph."""
        import onnx

        onnx.checker.check_model(str(result.piece.model_path))


def export(handle: str, facts: SourceFacts, folder: str, opset: int) -> list[str]:
    """In the child: export a module, or take the source's own ONNX file; strip it, return the files' names."""
    from edgelift_builder.convert import strip

    model = module(handle)
    if isinstance(model, FileModel):
        return strip.store(model.path, Path(folder))
    raw = Path(folder) / "raw.onnx"
    program = _export(model, facts, opset)
    program.save(raw, external_data=True)
    _name_free_axes(raw, facts.axes)
    files = strip.store(raw, Path(folder))
    for left in Path(folder).glob("raw.onnx*"):
        left.unlink()
    if facts.batch_free and _fixed_batch(Path(folder) / files[0], facts.axes):
        raise fixed_batch("ONNX")
    _check_free(Path(folder) / files[0], facts)
    return files


def _export(model: Any, facts: SourceFacts, opset: int) -> Any:
    import torch

    from edgelift_builder.convert.attention import AttentionOfFourAxes, mask_as_given
    from edgelift_builder.convert.projected_lstm import ProjectedLstm
    from edgelift_builder.source import tensors

    example, axes = tensors.example(), facts.axes
    batch = torch.export.Dim("batch")
    dynamic: dict[str, Any] = {}
    if facts.batch_free:
        # torch.export takes an axis of length 1 for a constant; a second, equal sample keeps it free.
        counted = {n: k for n in example if (k := axes[n]) is not None}
        example |= {n: torch.cat([example[n], example[n]], k) for n, k in counted.items()}
        dynamic = {n: {counted[n]: batch} for n in counted}
    for spec in facts.inputs:
        # What is as long as what, the exporter finds out; what it takes for fixed, `_check_free` does.
        free = [k for k, length in enumerate(spec.shape) if length == -1 and k != axes[spec.name]]
        dynamic.setdefault(spec.name, {}).update(dict.fromkeys(free, torch.export.Dim.AUTO))
    traced_parts.for_onnx()
    try:
        with AttentionOfFourAxes(), mask_as_given(), ProjectedLstm():
            return torch.onnx.export(
                tensors.by_position(model),
                tuple(example.values()),
                dynamo=True,
                opset_version=opset,
                input_names=[spec.name for spec in facts.inputs],
                output_names=[spec.name for spec in facts.outputs],
                dynamic_shapes=tuple(dynamic[n] or None for n in example) if any(dynamic.values()) else None,
                optimize=True,
                verbose=False,
            )
    except Exception as error:
        raise explain(error, "ONNX") from error


def _fixed_batch(path: Path, axes: Axes) -> bool:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    counted = [(i.type.tensor_type.shape.dim, axes.get(i.name, 0)) for i in graph.input]
    return any(axis is not None and dims[axis].HasField("dim_value") for dims, axis in counted)


def _check_free(path: Path, facts: SourceFacts) -> None:
    """Refuse a graph that fixes what the samples have in several lengths.

    Raises:
        ContractError: `conversion-failed`.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    wanted = {spec.name: spec.shape for spec in facts.inputs}
    for value in graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and wanted[value.name][axis] == -1 and axis != facts.axes[value.name]:
                raise ContractError(
                    "conversion-failed",
                    f"The model cannot be exported to ONNX with axis {axis} of {value.name} free: it fixes it at "
                    f"{dim.dim_value}.",
                    hint="Use x.shape in place of a number written into forward, or give samples of one length.",
                )


def _name_free_axes(path: Path, axes: Axes) -> None:
    # The exporter calls free axes s77 or so, a number that depends on what was traced before.
    import onnx

    proto = onnx.load(path, load_external_data=False)
    graph = proto.graph
    names: dict[str, str] = {}
    for value in graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                usual = "batch" if axis == axes.get(value.name, 0) else f"free_{len(names)}"
                names.setdefault(dim.dim_param, usual)
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\b\w+\b", lambda found: names.get(found[0], found[0]), dim.dim_param)
    path.write_bytes(proto.SerializeToString(deterministic=True))
