"""The true figure of an artifact's answers: by scikit-learn where it has one, else by plain numpy; none of it edgelift's.

Each takes outputs by name, what is right, the inputs, and what the float artifact answers; and returns one number.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn import metrics

Arrays = Mapping[str, Any]

#: (outputs, right, inputs, float's outputs) → the figure.
Truth = Callable[[Arrays, Any, Arrays, Arrays], float]

FIRST = "output_0"


def accuracy(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(metrics.accuracy_score(right, outputs[FIRST].argmax(-1)))


def chosen_inside(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(metrics.accuracy_score(right, outputs[FIRST].reshape(-1)))


def of_named(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(metrics.accuracy_score(right[FIRST], outputs[FIRST].argmax(-1)))


def balanced(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(metrics.balanced_accuracy_score(right, outputs[FIRST].argmax(-1)))


def above(threshold: float) -> Truth:
    """Accuracy of one score, for labels of which those above 0 are a yes."""
    return lambda outputs, right, *_: float(
        metrics.accuracy_score(right > 0, outputs[FIRST].reshape(-1) > threshold)
    )


def several_labels(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(metrics.f1_score(right, outputs[FIRST] > 0.5, average="micro"))


def absolute(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(metrics.mean_absolute_error(right.reshape(-1), outputs[FIRST].reshape(-1)))


def by_spread(outputs: Arrays, right: Any, *_: Arrays) -> float:
    each = metrics.mean_absolute_error(right, outputs[FIRST], multioutput="raw_values")
    return float((each / right.std(axis=0)).mean())


def pinball(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(metrics.mean_pinball_loss(right, outputs[FIRST][:, 0], alpha=0.9))


def likelihood(outputs: Arrays, right: Any, *_: Arrays) -> float:
    raised = np.exp(outputs[FIRST] - outputs[FIRST].max(-1, keepdims=True))
    return float((raised[np.arange(len(right)), right] / raised.sum(-1)).mean())


def union(outputs: Arrays, right: Any, *_: Arrays) -> float:
    """Mean IoU of classes along axis 1."""
    return float(metrics.jaccard_score(right.reshape(-1), outputs[FIRST].argmax(1).reshape(-1), average="macro"))


def mask_union(outputs: Arrays, right: Any, *_: Arrays) -> float:
    there = right != 255
    found = outputs[FIRST].reshape(right.shape) > 0
    return float(metrics.jaccard_score(right[there], found[there], average="macro"))


def every_place(outputs: Arrays, right: Any, *_: Arrays) -> float:
    there = right >= 0
    return float(metrics.accuracy_score(right[there], outputs[FIRST].argmax(-1)[there]))


def own_score(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(metrics.roc_auc_score(right, outputs[FIRST].reshape(-1)))


def rebuilt(outputs: Arrays, right: Any, inputs: Arrays, _: Arrays) -> float:
    (given,) = inputs.values()
    return float(metrics.roc_auc_score(right, ((outputs[FIRST] - given) ** 2).mean(axis=1)))


def near(outputs: Arrays, right: Any, *_: Arrays) -> float:
    return float(1 - np.mean([_distance(a, b) for a, b in zip(outputs[FIRST], right, strict=True)]))


def near_float(outputs: Arrays, _right: Any, _inputs: Arrays, floats: Arrays) -> float:
    return near(outputs, floats[FIRST])


def _distance(one: Any, other: Any) -> float:
    from scipy.spatial.distance import cosine

    return float(cosine(one.astype(np.float64), other.astype(np.float64)))


def by_size(outputs: Arrays, right: Any, *_: Arrays) -> float:
    """Distance of each point ÷ the diagonal around its sample's points."""
    found = outputs[FIRST].reshape(right.shape)
    sizes = [np.hypot(*np.ptp(points, axis=0)) for points in right]
    return float(np.mean([np.hypot(*(f - r).T).mean() / s for f, r, s in zip(found, right, sizes, strict=True)]))


def worst_channel(outputs: Arrays, _right: Any, _inputs: Arrays, floats: Arrays) -> float:
    """Of the first output: root mean square of the difference ÷ float's own standard deviation, the worst channel's."""
    found, wanted = outputs[FIRST].astype(np.float64), floats[FIRST].astype(np.float64)
    rows = [np.delete(np.arange(wanted.ndim), k) for k in {1, wanted.ndim - 1}]
    each = [np.sqrt(((found - wanted) ** 2).mean(tuple(r))) / wanted.std(tuple(r)) for r in rows]
    return float(max(channels.max() for channels in each))


def same_class(outputs: Arrays, _right: Any, _inputs: Arrays, floats: Arrays) -> float:
    return float(np.mean(outputs[FIRST].argmax(-1) == floats[FIRST].argmax(-1)))
