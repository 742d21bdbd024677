"""Classes that an artifact hardly says any more although float does: an accuracy over all of them may hide it.

Where a class is a hundredth of all samples, an artifact that never says it loses a point of accuracy at most. So of each
class are counted what float has right and what the artifact has right. A class is *gone* where it is lost by more than
`SHARE` of what float had right beyond chance: the binomial's upper tail, shared out among all classes that were looked at
(Bonferroni; C. J. Clopper and E. S. Pearson, Biometrika 26, 1934, for one of them). What is lost as far by chance perhaps is
told, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgelift_builder.data import Array, DataSet

#: Share of what float has right of a class that may be lost, as chance or hard samples have it in any quantised model.
SHARE = 0.25

#: Over all classes together: how often chance alone may call one gone.
_LEVEL = 0.025

#: A class that lost this much of what float had right is told, whatever chance says.
_TOLD = 0.5


@dataclass(frozen=True)
class Right:
    """What answers have right.

    Attributes:
        classes: int64[m], the class of each thing that is right.
        samples: int64[m], in which sample it is.
    """

    classes: Array
    samples: Array


#: Outputs → what is right of them.
Rights = Callable[[DataSet], Right]


@dataclass(frozen=True)
class ClassLoss:
    """One class.

    Attributes:
        metric: as `Judgement.name`.
        label: its number.
        samples: those in which float has some of it right.
        theirs, ours: how many float, and how many the artifact, has right.
        gone: is it lost beyond chance.
    """

    metric: str
    label: int
    samples: int
    theirs: int
    ours: int
    gone: bool

    @property
    def words(self) -> str:
        """A sentence on it, without a full stop."""
        return f"of class {self.label} it has {self.ours} right where float has {self.theirs} ({self.metric})"


def find(metric: str, theirs: Right, ours: Right, budget: float) -> Iterator[ClassLoss]:
    """The classes of which much is lost, the worst first.

    Args:
        metric: as `ClassLoss` has it.
        theirs: what float has right.
        ours: what the artifact has right.
        budget: what may be lost over all classes, points.
    """
    from scipy.stats import binom

    labels, wanted = np.unique(theirs.classes, return_counts=True)
    if not len(labels):
        return
    found = _counts(ours.classes[np.isin(ours.classes, labels)], labels)
    inside = _counts(np.unique(np.stack([theirs.classes, theirs.samples]), axis=1)[0], labels)
    lost = (wanted - found) / wanted
    # Things in one sample fare alike, so that what counts is in how many samples they are.
    chance = binom.sf(np.ceil(lost * inside - 1e-9) - 1, inside, max(SHARE, budget / 100))
    gone = (lost > 0) & (chance * len(labels) < _LEVEL)
    for k in np.argsort(-lost, kind="stable"):
        if gone[k] or lost[k] >= _TOLD:
            yield ClassLoss(metric, int(labels[k]), int(inside[k]), int(wanted[k]), int(found[k]), bool(gone[k]))


def _counts(classes: Array, labels: Array) -> Array:
    return np.bincount(np.searchsorted(labels, classes), minlength=len(labels))


def refusal(lost: tuple[ClassLoss, ...]) -> str:
    """A sentence on the classes that are gone; empty where none is."""
    gone = [one for one in lost if one.gone]
    if not gone:
        return ""
    more = f"; and so on in {len(gone) - _SAID} more classes" if len(gone) > _SAID else ""
    told = "; ".join(one.words for one in gone[:_SAID])
    return f"{told[0].upper()}{told[1:]}{more}: more than chance explains, whatever is lost over all classes together."


#: Classes that a sentence tells.
_SAID = 3


def remark(lost: tuple[ClassLoss, ...]) -> str:
    """A sentence on those of which chance may have taken the most; empty where there are none."""
    told = [one for one in lost if not one.gone]
    if not told:
        return ""
    more = f"; and so on in {len(told) - _SAID} more classes" if len(told) > _SAID else ""
    return f"{'; '.join(one.words for one in told[:_SAID])}{more}: too few to tell that from chance."
