"""What looks like an attack, told in the log, so seldom that nobody fills a disk with it.

The first of its kind from an address is told at once; more of it are counted, and told with the next line. Whoever owns a
device or sits in the network can bring any number of them, so what is kept here is bounded too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edgelift_contract.text import clean

log = logging.getLogger(__name__)

#: Of one kind from one address a line is written no more often, seconds.
EVERY_S = 60.0
#: Kinds and addresses that are kept at once; the oldest go.
_MOST = 1000

#: Codes by which a device is refused that are no accident: somebody is, or wants to be, another than he is …
_OF_IDENTITY = frozenset({
    "wrong-device", "already-enrolled", "identity-revoked", "identity-expired", "token-spent",
})  # fmt: skip
#: … and where it is an enrolment: a secret that nobody made, a request for a certificate that is none.
_OF_ENROLMENT = frozenset({"not-authorised", "malformed", "too-large"})


def is_suspicious(code: str, *, enrols: bool) -> bool:
    """Is a device's request, refused by this code, to be told of? `enrols`: it introduces itself."""
    return code in _OF_IDENTITY or (enrols and code in _OF_ENROLMENT)


class Suspicions:
    """Tells of them. Safe to use from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._told: dict[tuple[str, str], tuple[float, int]] = {}  # when, and how many were not told since

    def note(self, address: str, code: str, what: str) -> None:
        """Something was refused by this code; `what` says what, in a sentence."""
        now, key = self._now(), (address, code)
        with self._lock:
            at, untold = self._told.pop(key, (-EVERY_S, 0))
            tells = now - at >= EVERY_S
            self._told[key] = (now, 0) if tells else (at, untold + 1)
            while len(self._told) > _MOST:
                del self._told[next(iter(self._told))]
        if tells:
            more = f" ({untold} more since)" if untold else ""
            log.warning("refused address=%s code=%s %s%s", clean(address), code, clean(what), more)


#: The process's one: what calls it is in several rooms.
SUSPICIONS = Suspicions()
