"""Takes apart the normalisations that onnxruntime has put among the standard operators, where no standard of that opset has
them: `LayerNormalization` before opset 17, `SimplifiedLayerNormalization` (a root mean square) in any.

onnxruntime puts them together again when it loads the graph; onnx's checker and everybody else can read it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: The opset in which ReduceMean takes its axes as an input, and in which LayerNormalization became a standard operator.
_AXES_GIVEN, _STANDARD = 18, 17


def without_foreign_norms(model: Any) -> bool:
    """Change `model` in place; was there one."""
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    foreign = {"SimplifiedLayerNormalization"} | ({"LayerNormalization"} if opset < _STANDARD else set())
    nodes = list(model.graph.node)
    found = [n for n in nodes if n.op_type in foreign and n.domain in ("", "ai.onnx") and _is_plain(n)]
    if not found:
        return False
    made = [part for node in nodes for part in (_apart(node, opset, model) if node in found else [node])]
    kept = [type(node).FromString(node.SerializeToString()) for node in made]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return True


def _is_plain(node: Any) -> bool:
    options = {a.name: a.i for a in node.attribute}
    return options.get("axis", -1) == -1 and not any(list(node.output)[1:])


def _apart(node: Any, opset: int, model: Any) -> list[Any]:
    import onnx

    out, given = node.output[0], [*node.input, "", ""]
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    numbers = {f"{out}/two": np.array(2, np.float32), f"{out}/least": np.array(epsilon, np.float32)}
    if opset >= _AXES_GIVEN:
        numbers[f"{out}/axes"] = np.array([-1], np.int64)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in numbers.items())
    parts: list[Any] = []

    def add(operator: str, *inputs: str, to: str = "") -> str:
        made = to or f"{out}/{operator}_{len(parts)}"
        parts.append(onnx.helper.make_node(operator, list(inputs), [made], name=f"{out}/{operator}_{len(parts)}"))
        return made

    def mean(x: str) -> str:
        if opset >= _AXES_GIVEN:
            return add("ReduceMean", x, f"{out}/axes")
        made = add("ReduceMean", x)
        parts[-1].attribute.append(onnx.helper.make_attribute("axes", [-1]))
        return made

    x, gamma, beta = given[:3]
    x = add("Sub", x, mean(x)) if node.op_type == "LayerNormalization" else x
    spread = add("Sqrt", add("Add", mean(add("Pow", x, f"{out}/two")), f"{out}/least"))
    shares = add("Div", x, spread)
    add("Mul", shares, gamma, to="" if beta else out)
    if beta:
        add("Add", parts[-1].output[0], beta, to=out)
    return parts
