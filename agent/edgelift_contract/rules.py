"""Judgements that both sides must make alike, as pure functions: no file, no socket, no clock.

`choose` picks the artifact of a release for a device; `admit` is the device's own, last word on it. The
control plane uses the first so that it never assigns what the second would refuse. `fails_as_often` is how a device in
probation and the host that checks its word compare two shares of failed requests.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Iterable, Sequence
from math import sqrt

from edgelift_contract.assignment import SlotAssignment
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import Manifest
from edgelift_contract.release import ReleaseArtifact
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Vouched

#: Requests of the old generation below which its share of failures says nothing.
MIN_COMPARED = 20
#: How many standard errors two shares must lie apart to count as different: 2.3 % of chance on one side.
CLEARLY_APART = 2.0


def choose(artifacts: Sequence[ReleaseArtifact], facts: DeviceFacts, *, what: str) -> ReleaseArtifact:
    """The artifact of a release that suits a device best.

    First the hardware class nearest to the device's own, then the release's own rank.

    Args:
        artifacts: of one release.
        facts: of the device, as it reported them.
        what: how to name the release, as `digits@2`.

    Raises:
        ContractError: `wrong-hardware-class` or `runtime-missing`, saying what the release and the device have.
    """
    accepts = facts.accepts or [facts.hardware_class]
    fitting = [a for a in artifacts if a.hardware_class in accepts]
    if not fitting:
        raise ContractError(
            "wrong-hardware-class",
            f"{what} has artifacts for {_listed(a.hardware_class for a in artifacts)}; "
            f"the device is {facts.hardware_class}.",
            hint="Build it with a --target of that hardware class.",
        )
    runnable = [a for a in fitting if a.runtime in facts.runtimes]
    if not runnable:
        raise ContractError(
            "runtime-missing",
            f"{what} needs {_listed(a.runtime for a in fitting)}; the device has {_listed(facts.runtimes)}.",
            hint="Install one in the agent's environment: pip install onnxruntime, or ai-edge-litert.",
        )
    return min(runnable, key=lambda a: (accepts.index(a.hardware_class), a.rank, a.id))


def admit(manifest: Manifest, facts: DeviceFacts, *, floor: int, allow_older: bool = False) -> None:
    """Let a manifest pass that this device may install.

    Args:
        manifest: parsed and already matched to its digest.
        facts: of this device, measured here.
        floor: highest release counter of the model that this device ever committed.
        allow_older: the assignment asks for an older release on purpose.

    Raises:
        ContractError: `wrong-hardware-class`, `runtime-missing` or `older-release`.
    """
    accepts = facts.accepts or [facts.hardware_class]
    name = f"{manifest.model}@{manifest.version}"
    if manifest.hardware_class not in accepts:
        raise ContractError(
            "wrong-hardware-class",
            f"{name} is built for {manifest.hardware_class}; this device is {facts.hardware_class}.",
        )
    version = facts.runtimes.get(manifest.runtime)
    if version is None:
        raise ContractError(
            "runtime-missing",
            f"{name} needs {manifest.runtime}, which is not installed here.",
            hint="Install it in the agent's environment: pip install onnxruntime, or ai-edge-litert.",
        )
    if not in_range(version, manifest.runtime_range):
        raise ContractError(
            "runtime-missing",
            f"{name} needs {manifest.runtime} {manifest.runtime_range}; this device has {version}.",
        )
    if manifest.release_counter < floor and not allow_older:
        raise older_release(name, manifest.release_counter, floor)


def may_go_back(wanted: SlotAssignment, signed: Vouched | None, before: Collection[str]) -> bool:
    """May a slot get a release below the counter that this device has run, where two must sign?

    The control plane's word is not enough: who stole its key could choose among all that was ever listed, the release with
    a known hole too. What a roll-back needs is what the slot ran just before.

    Args:
        wanted: what the control plane assigned.
        signed: what both repositories say of it; None where nobody signs, and the control plane alone decides.
        before: ids of what the slot ran just before, or ran and lost by a damaged disk.
    """
    return wanted.policy.allow_older and (signed is None or signed.allow_older or wanted.artifact in before)


def older_release(name: str, counter: int, floor: int) -> ContractError:
    """What to say of a release (`digits@2`) with a counter below `floor`."""
    return ContractError(
        "older-release", f"{name} has release counter {counter}; this device has run {floor}.",
        hint="To go back on purpose, assign it with --allow-older; where a device did not run it just before, the builders"
        " must allow that too: edgelift release allow-older.",
    )  # fmt: skip


def fails_as_often(errors: int, requests: int, old_errors: int, old_requests: int) -> bool:
    """Did the generation before fail as often as the new one, as far as its requests can tell?

    The pooled two-proportion z statistic is at most `CLEARLY_APART`; always so where the old share is the higher one.
    A generation before with fewer than `MIN_COMPARED` requests, or without a failure, excuses nothing.
    """
    if not old_errors or old_requests < MIN_COMPARED or not requests:
        return False
    difference = errors / requests - old_errors / old_requests
    pooled = (errors + old_errors) / (requests + old_requests)
    return difference <= CLEARLY_APART * sqrt(max(0.0, pooled * (1 - pooled)) * (1 / requests + 1 / old_requests))


def in_range(version: str, wanted: str) -> bool:
    """Does `version` satisfy `wanted`, as `>=1.17,<2`? An empty range takes any version.

    Numbers are compared part by part; what follows the numbers (`rc1`, `+cpu`) is left out of account.
    """
    have = _numbers(version)
    for clause in filter(None, (c.strip() for c in wanted.split(","))):
        match = re.match(r"^(>=|<=|==|<|>)\s*([0-9][0-9.]*)$", clause)
        if not match:
            return False
        size = max(len(have), len(_numbers(match[2])))
        left, right = _padded(have, size), _padded(_numbers(match[2]), size)
        compare = {
            ">=": operator.ge,
            "<=": operator.le,
            "==": operator.eq,
            "<": operator.lt,
            ">": operator.gt,
        }
        holds = compare[match[1]](left, right)
        if not holds:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"^\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _padded(numbers: tuple[int, ...], size: int) -> tuple[int, ...]:
    return numbers + (0,) * (size - len(numbers))


def _listed(names: Iterable[str]) -> str:
    unique = sorted(set(names))
    return ", ".join(unique) if unique else "none"
