"""Brings an ONNX graph that onnxruntime takes into the form that onnx's own checker, and every step after it, takes too.

Writers of files are looser than the specification, and onnxruntime follows them: nodes out of order, constants that old
files list as inputs or don't list at all, sparse constants, the standard operators under their long name, outputs without
a shape, graphs without a name, free axes written as 0. bfloat16, for which no processor's kernels exist, becomes float32;
operators that are too old are raised. What a graph computes stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder.source.onnx_floats import as_float32
from edgelift_builder.source.onnx_norms import without_foreign_norms
from edgelift_builder.source.onnx_walk import OLDEST_OPSET, graphs, messages, nodes, opset_of, reads

#: From this IR version on a constant need not be an input.
_FREE_CONSTANTS = 4


def tidy(model: Any, home: Path) -> tuple[Any, list[str]]:
    """`model` changed in place, and what was done, for people; empty strings where nobody need know.

    Args:
        model: a graph whose external data are not loaded.
        home: the folder that they are in.
    """
    done = [said for work in _WORKS for said in work(model, home)]
    return model, done


def _short_domain(model: Any, _home: Path) -> Iterator[str]:
    long = [m for m in messages(model) if getattr(m, "domain", "") == "ai.onnx"]
    for message in long:
        message.domain = ""
    if long:
        yield ""


def _constants_are_no_inputs(model: Any, _home: Path) -> Iterator[str]:
    graph = model.graph
    constants = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    kept = [value for value in graph.input if value.name not in constants]
    if len(kept) == len(graph.input) and (model.ir_version >= _FREE_CONSTANTS or not constants):
        return
    settable = [v.name for v in graph.input if v.name in constants] if model.ir_version >= _FREE_CONSTANTS else []
    _replace(graph.input, kept)
    model.ir_version = max(model.ir_version, _FREE_CONSTANTS)
    yield f"{', '.join(settable[:10])} can no longer be given: the value in the file holds." if settable else ""


def _dense(model: Any, _home: Path) -> Iterator[str]:
    import onnx

    for graph in graphs(model):
        for sparse in graph.sparse_initializer:
            values = onnx.numpy_helper.to_array(sparse.values)
            places = onnx.numpy_helper.to_array(sparse.indices)
            whole = np.zeros(tuple(sparse.dims), values.dtype)
            whole[tuple(places.T) if places.ndim == 2 else np.unravel_index(places, whole.shape)] = values
            graph.initializer.append(onnx.numpy_helper.from_array(whole, sparse.values.name))
        if graph.sparse_initializer:
            del graph.sparse_initializer[:]
            yield ""


def _in_order(model: Any, _home: Path) -> Iterator[str]:
    for graph in graphs(model):
        ordered = _sorted(list(graph.node))
        if [id(n) for n in ordered] != [id(n) for n in graph.node]:
            _replace(graph.node, ordered)
            yield ""


def _sorted(nodes: list[Any]) -> list[Any]:
    """Every node after those that it reads, else in the order given; as it was where that cannot be."""
    makers = {name: k for k, node in enumerate(nodes) for name in node.output if name}
    waits = [{makers[name] for name in reads(node) if name in makers} for node in nodes]
    if all(max(wait, default=-1) < k for k, wait in enumerate(waits)):
        return nodes
    done: set[int] = set()
    left, order = list(range(len(nodes))), list[int]()
    while left:
        ready = [k for k in left if waits[k] <= done]
        if not ready:
            return nodes  # a circle: the checker says so
        order += ready
        done.update(ready)
        left = [k for k in left if k not in done]
    return [nodes[k] for k in order]


def _graphs_have_names(model: Any, _home: Path) -> Iterator[str]:
    bare = [graph for graph in graphs(model) if not graph.name]
    for graph in bare:
        graph.name = "graph"
    if bare:
        yield ""


def _free_axes_are_free(model: Any, _home: Path) -> Iterator[str]:
    # To onnxruntime an axis of 0 is empty; whoever gives nothing there may, with a free one.
    ends = (*model.graph.input, *model.graph.output)
    dims = [d for value in ends if value.type.HasField("tensor_type") for d in value.type.tensor_type.shape.dim]
    closed = [d for d in dims if d.HasField("dim_value") and d.dim_value <= 0]
    for dim in closed:
        dim.ClearField("dim_value")
    if closed:
        yield ""


def _operators_that_are_known(model: Any, _home: Path) -> Iterator[str]:
    import onnx

    opset = opset_of(model)
    if not 0 < opset < OLDEST_OPSET:
        return
    try:
        raised = onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except Exception:  # noqa: BLE001 - it may run as it is; where it does not, the refusal names its opset
        return
    model.CopyFrom(raised)
    yield f"The file is of opset {opset}, and was raised to {OLDEST_OPSET}, the oldest that runtimes have."


def _own_names(model: Any, _home: Path) -> Iterator[str]:
    seen: set[str] = set()
    changed = False
    for number, node in enumerate(model.graph.node):
        if node.name and node.name in seen:
            node.name, changed = f"{node.name}_{number}", True
        seen.add(node.name)
    if changed:
        yield ""


def _float_for_bfloat(model: Any, home: Path) -> Iterator[str]:
    import onnx

    if as_float32(model, onnx.TensorProto.BFLOAT16, str(home)):
        yield "The file holds bfloat16, which was made float32: runtimes on devices compute in that."


def _standard_norms(model: Any, _home: Path) -> Iterator[str]:
    if without_foreign_norms(model):
        yield ""


#: Every Debian and Ubuntu has it, with the letters of all languages; `en_US`, which the operator takes else, many do not.
_LOCALE = "C.UTF-8"


def _locale_everywhere(model: Any, _home: Path) -> Iterator[str]:
    for node in nodes(model):
        if node.op_type != "StringNormalizer" or node.domain:
            continue
        given = {a.name: a.s.decode() for a in node.attribute if a.s}
        if given.get("case_change_action", "NONE") == "NONE" or not given.get("locale", "en_US").startswith("en"):
            continue
        kept = [type(a).FromString(a.SerializeToString()) for a in node.attribute if a.name != "locale"]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.add(name="locale", s=_LOCALE.encode(), type=3)  # STRING
        how = given["case_change_action"].lower()
        yield f"Its text is made {how}case by the locale {_LOCALE}, which every device has."


def _shaped_outputs(model: Any, _home: Path) -> Iterator[str]:
    import onnx

    graph = model.graph
    bare = {v.name: v for v in graph.output if _is_bare(v)}
    if not bare:
        return
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    except Exception:  # noqa: BLE001 - over 2 GB, or operators of others: the checker says what lacks
        return
    for value in inferred:
        if value.name in bare and not _is_bare(value):
            bare[value.name].type.CopyFrom(value.type)
            yield ""


def _is_bare(value: Any) -> bool:
    return value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")


def _replace(field: Any, values: list[Any]) -> None:
    kept = [type(v).FromString(v.SerializeToString()) for v in values]
    del field[:]
    field.extend(kept)


_WORKS: tuple[Callable[[Any, Path], Iterator[str]], ...] = (
    _short_domain, _dense, _constants_are_no_inputs, _graphs_have_names, _free_axes_are_free, _in_order, _own_names,
    _operators_that_are_known, _standard_norms, _float_for_bfloat, _locale_everywhere, _shaped_outputs,
)  # fmt: skip
