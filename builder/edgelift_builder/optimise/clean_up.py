"""Graph clean-up: small passes over an ONNX model, each of which leaves what the model computes as it was.

A pass takes a ModelProto and returns a new one; the one given is not touched. Only the main graph is rewritten:
what a sub-graph (If, Loop, Scan) reads from outside counts as used. Tensors beside the graph stay there unread.
`PASSES` is all of them in the order in which they help each other; tests hold each against the onnx package's
backend node cases through the real runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgelift_builder.convert import strip
from edgelift_builder.optimise.fold import fold_constants
from edgelift_builder.piece import Piece, graph_files
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, on_step_failure
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError


class CleanUp:
    """ONNX → the same ONNX with fewer nodes, whatever its precision."""

    name = "clean-up"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """No options: every pass, in order."""
        return check_options(self.name, options, {}) | {"passes": list(PASSES)}

    def requires(self, piece: Piece) -> None:
        """Any ONNX graph."""
        if piece.format != "onnx":
            raise ContractError("step-failed", f"The step {self.name} works on onnx, not on {piece.format}.")

    def run(self, piece: Piece, _settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Run the passes in the child; the piece keeps its precision."""
        files, changed = context.child.call(
            clean, str(piece.model_path), str(folder), on_failure=on_step_failure(self.name)
        )
        roles = graph_files(files)
        made = Piece(
            "onnx", "", folder, roles, piece.precision, left_float=piece.left_float,
            runtime_range=piece.runtime_range,
        )  # fmt: skip
        return StepOutput(made, changed=changed)

    def ensures(self, _before: Piece, result: StepOutput) -> None:
        """A valid graph."""
        import onnx

        onnx.checker.check_model(str(result.piece.model_path))


def clean(model: str, folder: str) -> tuple[list[str], bool]:
    """In the child: write the cleaned graph; return its files, and whether it has fewer nodes."""
    import onnx

    before = onnx.load(model, load_external_data=False)
    made = before
    for run in PASSES.values():
        made = run(made)
    beside = Path(model).with_name("cleaned.onnx")  # for as long as its weights are those of the old graph
    beside.write_bytes(made.SerializeToString(deterministic=True))
    try:
        return strip.store(beside, Path(folder)), len(made.graph.node) < len(before.graph.node)
    finally:
        beside.unlink()


def strip_metadata(model: Any) -> Any:
    """Without `metadata_props` and doc strings, which hold paths of the machine that exported it."""
    made = _copy(model)
    strip.scrub(made)
    return made


def drop_identity(model: Any) -> Any:
    """Without Identity nodes: readers read what the Identity read."""
    return _bypass(model, lambda node, _: node.op_type == "Identity" and node.domain in ("", "ai.onnx"))


def drop_dropout(model: Any) -> Any:
    """Without Dropout nodes that do nothing: in inference, and with nobody reading the mask."""
    return _bypass(model, _idle_dropout)


def drop_unused(model: Any) -> Any:
    """Without nodes whose outputs nobody reads, and without constants that nobody reads."""
    made = _copy(model)
    graph = made.graph
    needed = {v.name for v in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output if name):
            kept.append(node)
            needed.update(_reads(node))
    _replace(graph.node, list(reversed(kept)))
    given = {v.name for v in graph.input}
    _replace(graph.initializer, [t for t in graph.initializer if t.name in needed or t.name in given])
    _replace(graph.sparse_initializer, [t for t in graph.sparse_initializer if t.values.name in needed])
    alive = needed | {name for node in graph.node for name in node.output}
    _replace(graph.value_info, [v for v in graph.value_info if v.name in alive])
    return made


#: Name → pass, in the order in which they are run.
PASSES: dict[str, Callable[[Any], Any]] = {
    "strip-metadata": strip_metadata,
    "drop-dropout": drop_dropout,
    "drop-identity": drop_identity,
    "fold-constants": fold_constants,
    "drop-unused": drop_unused,
}


def _idle_dropout(node: Any, model: Any) -> bool:
    if node.op_type != "Dropout" or node.domain not in ("", "ai.onnx"):
        return False
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    mask = [name for name in node.output[1:] if name]
    read = {name for other in model.graph.node for name in _reads(other)} | {v.name for v in model.graph.output}
    training = len(node.input) > 2 and node.input[2] != ""  # a constant false there is folded by nobody: leave it
    return version >= 7 and not training and not any(name in read for name in mask)


def _bypass(model: Any, wanted: Callable[[Any, Any], bool]) -> Any:
    """Drop nodes that hand their first input on as their first output."""
    made = _copy(model)
    graph = made.graph
    fixed = {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    inner = {name for node in graph.node for name in _inner_reads(node)}
    kept: list[Any] = []
    for node in graph.node:
        source, out = (node.input[0], node.output[0]) if node.input and node.output else ("", "")
        if not (source and out and wanted(node, made)):
            kept.append(node)
        elif out not in fixed and out not in inner:
            _rename(graph, {out: source})
        elif source not in fixed and source not in inner and out not in inner and _is_made_here(kept, source):
            # An output of the model: its maker takes the name over, and other readers follow.
            _rename(graph, {source: out})
        else:
            kept.append(node)
    _replace(graph.node, kept)
    alive = {name for node in kept for name in (*node.input, *node.output)}
    _replace(graph.value_info, [v for v in graph.value_info if v.name in alive])
    return made


def _is_made_here(nodes: list[Any], name: str) -> bool:
    return any(name in node.output for node in nodes)


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            for i, name in enumerate(values):
                if name in names:
                    values[i] = names[name]


def _reads(node: Any) -> Iterator[str]:
    """Names a node reads, those of its sub-graphs included."""
    yield from (name for name in node.input if name)
    yield from _inner_reads(node)


def _inner_reads(node: Any) -> Iterator[str]:
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (v.name for v in graph.output)


def _copy(model: Any) -> Any:
    made = type(model)()
    made.CopyFrom(model)
    return made


def _replace(field: Any, values: list[Any]) -> None:
    kept = [type(v).FromString(v.SerializeToString()) for v in values]
    del field[:]
    field.extend(kept)
