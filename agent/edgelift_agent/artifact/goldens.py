"""Comparing a model's outputs with its goldens, within the manifest's tolerance.

Equal to the bit under the key that the goldens were recorded under; under any other key, and where anything but the
processor computes, within `atol`, with the same largest element. What a breach means is the caller's business.
"""

from __future__ import annotations

import numpy as np

from edgelift_agent.ports import LoadedModel
from edgelift_agent.runtime.tensors import to_array
from edgelift_contract.errors import ContractError
from edgelift_contract.golden import Golden
from edgelift_contract.manifest import Tolerance


def check_goldens(model: LoadedModel, goldens: list[Golden], tolerance: Tolerance, *, key: str) -> float:
    """Run every golden and compare.

    Args:
        model: the candidate, loaded.
        goldens: inputs and the outputs they must give.
        tolerance: the manifest's.
        key: this device's key, see `edgelift_contract.golden.tolerance_key`.

    Returns:
        The largest absolute difference seen.

    Raises:
        ContractError: `golden-mismatch`, naming the golden and the output.
    """
    # The key names the processor's kernels; an accelerator computes with others, and may pick anew at each load.
    exact = key == tolerance.key and not model.accelerators
    worst = 0.0
    for number, golden in enumerate(goldens):
        outputs = model.run({tensor.name: to_array(tensor) for tensor in golden.inputs})
        for expected in golden.outputs:
            got = outputs.get(expected.name)
            if got is None:
                raise ContractError("golden-mismatch", f"The model has no output {expected.name!r}.")
            worst = max(
                worst, _compare(np.asarray(got), to_array(expected), tolerance, number, expected.name, exact)
            )
    return worst


def _compare(
    got: np.ndarray, want: np.ndarray, tolerance: Tolerance, number: int, name: str, exact: bool
) -> float:  # fmt: skip
    if got.shape != want.shape:
        raise _mismatch(number, name, f"has the shape {list(got.shape)} instead of {list(want.shape)}")
    if want.dtype.hasobject:
        if [_as_bytes(g) for g in got.ravel()] != list(want.ravel()):
            raise _mismatch(number, name, "holds other text")
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
    difference = np.where(got == want, 0.0, difference)  # the same infinity, as in what a mask rules out
    if np.isnan(difference).any():
        raise _mismatch(number, name, "holds NaN")
    error = float(difference.max(initial=0.0))
    limit = 0.0 if exact else tolerance.atol
    if error > limit:
        allowed = "0 is allowed on this hardware and runtime" if exact else f"{tolerance.atol:.3g} is allowed"
        raise _mismatch(number, name, f"is off by {error:.3g}; {allowed}")
    if tolerance.argmax and want.ndim and want.shape[-1] > 1 and not exact:
        _check_argmax(got, want, tolerance, number, name)
    return error


def _as_bytes(item: object) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def _check_argmax(got: np.ndarray, want: np.ndarray, tolerance: Tolerance, number: int, name: str) -> None:
    first, second = np.moveaxis(np.sort(want, axis=-1)[..., -2:][..., ::-1], -1, 0)
    # A tie within the tolerance may fall either way: it says nothing about the model; nor do two infinities.
    with np.errstate(invalid="ignore"):
        clear = (first.astype(np.float64) - second.astype(np.float64)) > 2 * tolerance.atol
    if (np.argmax(got, axis=-1) != np.argmax(want, axis=-1))[clear].any():
        raise _mismatch(number, name, "has another largest element")


def _mismatch(number: int, name: str, what: str) -> ContractError:
    return ContractError("golden-mismatch", f"Output {name!r} of golden {number} {what}.")
