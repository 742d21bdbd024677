"""How a rollout stands, device by device, in words: everybody that it selected or reached has one place, with its name.

Nobody is left out: an end that names every device is the promise here, and `tests/fleet/test_decide.py` holds it for
any situation. A text names the first few of each kind; the mapping names all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgelift_fleet.rollout.situation import Observations

#: outcome → what a text says of it, in the order in which a text says it.
_WORDS = {
    "committed": "committed",
    "restored": "have again what they had",
    "failed": "failed",
    "silent": "did not answer before their deadline",
    "updating": "are still updating",
    "waiting": "have not begun",
    "offline": "are offline",
    "let-go": "were let go",
    "superseded": "got something else by another assignment",
    "left": "are no longer selected",
    "unsuited": "can get nothing of it",
    "held": "were held back",
    "elsewhere": "belong to another rollout",
    "unreached": "were not reached",
}
_SHOWN = 3


def outcomes(seen: Observations, *, let_go: Iterable[str] = ()) -> dict[str, list[str]]:
    """Every device that is selected or was reached, once, by its outcome; `let_go` are released by this very end."""
    places: dict[str, str] = dict.fromkeys(seen.cohort, "unreached")
    places.update(dict.fromkeys(seen.elsewhere, "elsewhere"))
    places.update({d.device: d.status for d in seen.devices})
    places.update(dict.fromkeys(let_go, "let-go"))
    found: dict[str, list[str]] = {}
    for device in sorted(places):
        found.setdefault(places[device], []).append(device)
    return {kind: found[kind] for kind in _WORDS if kind in found}


def tell(found: Mapping[str, Sequence[str]], *, without: Iterable[str] = ()) -> str:
    """Outcomes as sentences, each with names; empty for none."""
    skipped = set(without)
    parts = [
        f"{many(len(names))} {_one(words) if len(names) == 1 else words}: {named(names)}."
        for kind, words in _WORDS.items()
        if kind not in skipped and (names := found.get(kind))
    ]
    return " ".join(parts)


def many(count: int) -> str:
    """`1 device`, `2 devices`."""
    return "1 device" if count == 1 else f"{count} devices"


def named(devices: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(sorted(devices)[:_SHOWN])
    return f"{shown} and {len(devices) - _SHOWN} more" if len(devices) > _SHOWN else shown


_ONE = {"have": "has", "are": "is", "were": "was", "belong": "belongs", "they": "it", "their": "its"}


def _one(words: str) -> str:
    return " ".join(_ONE.get(word, word) for word in words.split(" "))
