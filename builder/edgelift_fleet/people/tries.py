"""How often somebody may try a password: each failure makes the next try wait longer, by its name and by its address.

Kept in memory, of so many names and addresses at most; each server of a site counts by itself. For one thread.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass

from edgelift_contract.errors import TransportError

#: Of a name: failures that cost nothing, and the longest wait: whoever is called so must not be locked out for long.
NAME_FREE, NAME_MOST_S = 4, 60.0
#: Of an address, behind which there may be many people.
ADDRESS_FREE, ADDRESS_MOST_S = 20, 900.0
#: A failure is forgotten after so long without another, seconds.
FORGOTTEN_S = 3600.0
#: Names and addresses that are remembered.
MAX_KEPT = 20_000


@dataclass
class _Failed:
    times: int = 0
    at: float = 0.0
    until: float = 0.0


def wait_s(times: int, free: int, most_s: float) -> float:
    """How long to wait after so many failures, seconds: 1, 2, 4 … Pure."""
    over = times - free
    return 0.0 if over <= 0 else min(most_s, 2.0 ** min(over - 1, 30))


class Tries:
    """Who has failed how often."""

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._failed: OrderedDict[tuple[str, str], _Failed] = OrderedDict()
        self._most = most

    def begin(self, name: str, address: str, now: float) -> None:
        """Somebody tries. It counts as a failure until `succeeded`: tries that come at once are no way around.

        Raises:
            TransportError: `too-many-tries`, with when to come again.
        """
        keys = self._keys(name, address)
        until = max((self._failed[key].until for key in keys if key in self._failed), default=0.0)
        if until > now:
            raise too_many(until - now)
        for key, free, most_s in zip(keys, (NAME_FREE, ADDRESS_FREE), (NAME_MOST_S, ADDRESS_MOST_S), strict=True):
            found = self._failed.pop(key, None)
            if found is None or now - found.at > FORGOTTEN_S:
                found = _Failed()
            found.times, found.at = found.times + 1, now
            found.until = now + wait_s(found.times, free, most_s)
            self._failed[key] = found
        while len(self._failed) > self._most:
            self._failed.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """It was the right password. The name is free again; the address only of this try: its others may be guesses."""
        of_name, of_address = self._keys(name, address)
        self._failed.pop(of_name, None)
        if (found := self._failed.get(of_address)) is not None:
            found.times, found.until = found.times - 1, 0.0

    def __len__(self) -> int:
        return len(self._failed)

    @staticmethod
    def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("name", name), ("address", network_of(address))


def network_of(address: str) -> str:
    """Whose an address is: of IPv6 one party has 2**64 of them. Pure."""
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(read, ipaddress.IPv6Address):
        return str(read.ipv4_mapped or ipaddress.ip_network((int(read) >> 64 << 64, 64)))
    return str(read)


def too_many(seconds: float) -> TransportError:
    """The refusal of who must wait."""
    after = max(1, math.ceil(seconds))
    error = TransportError("too-many-tries", "Too many tries have failed.", hint=f"Try again in {after} s.")
    error.retry_after_s = float(after)
    return error
