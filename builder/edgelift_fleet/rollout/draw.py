"""In which order a wave takes devices: drawn by lot within each hardware class, spread over the classes. Pure.

Why by lot: a gate compares a wave's devices with those that it has not reached, and may do so only if nothing but
chance told them apart (`gates`). Why anew for each wave, from the seed kept with the rollout and the wave's number:
given all that happened before, who is drawn next is then again nothing but chance, also where the first waves
passed over devices that were off; and a server that starts again draws the same.

Devices that are there come before those that aren't. Within a class this favours nobody that can be compared: an
offline device sends no windows, so neither the wave's share nor its controls hold one, and among those that are
there the lot alone decides. Without it a first wave of one could wait for a board in a drawer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edgelift_fleet.cohorts import Member


def order(cohort: Sequence[Member], seed: int, wave: int = 0) -> list[str]:
    """The ids of `cohort`, in the order in which wave `wave` takes them.

    First one of each class, then by shares: any beginning has each class about as often as the whole has it. A
    device's place among its class depends on nothing but seed, wave and its id: others may come or go.

    Args:
        cohort: who is selected; its own order does not matter.
        seed: kept with the rollout.
        wave: from 0; each has a draw of its own.

    Returns:
        Those that are there, then those that aren't.
    """
    there = _spread([m for m in cohort if m.online], seed, wave)
    return there + _spread([m for m in cohort if not m.online], seed, wave)


def lot(seed: int, wave: int, device: str) -> bytes:
    """What a device draws: 16 bytes that look random; lower comes first."""
    return hashlib.blake2b(f"{seed}/{wave}/{device}".encode(), digest_size=16).digest()


def _spread(members: Sequence[Member], seed: int, wave: int) -> list[str]:
    classes: dict[str, list[tuple[bytes, str]]] = {}
    for member in members:
        drawn = lot(seed, wave, member.device)
        classes.setdefault(member.hardware_class, []).append((drawn, member.device))
    places: list[tuple[float, bytes, str]] = []
    for of_class in classes.values():
        size = len(of_class)
        for place, (drawn, device) in enumerate(sorted(of_class)):
            # The first of each class comes before all else, that of the largest class first.
            position = -float(size) if place == 0 else (place + 0.5) / size
            places.append((position, drawn, device))
    return [device for _, _, device in sorted(places)]
