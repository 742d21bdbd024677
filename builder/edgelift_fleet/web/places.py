"""Which connections an HTTP server keeps when more come than it has places. Knows no socket and no clock.

Whoever may connect can hurt a server by doing nothing, and no bound on the number alone tells the hundreds of boards of
one site from one board with hundreds of sockets. So newcomers always get in, and who goes is who has done least for its
place: first those that never showed a token, the oldest of them first, then those that wait between two requests, then
polls that are parked (they are answered "nothing new", and come again), and last who came a moment ago: it is about to
ask. Whoever the server is about to answer stays. An address that holds more than its share makes room among its own.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

C = TypeVar("C")

#: `new`: nothing that showed a token came yet. `idle`: between two requests. `parked`: in a long poll. `busy`: asking, or
#: being answered.
Doing = Literal["new", "idle", "parked", "busy"]
#: Who came this lately is about to ask, seconds.
ON_ITS_WAY_S = 1.0


class _Crowd(Generic[C]):
    """Connections by what they do, each in the order in which it began to."""

    def __init__(self) -> None:
        self.doing: dict[Doing, dict[C, float]] = {"new": {}, "idle": {}, "parked": {}, "busy": {}}
        self.size = 0

    def add(self, connection: C, doing: Doing, now: float = 0.0) -> None:
        self.doing[doing][connection] = now
        self.size += 1

    def remove(self, connection: C, doing: Doing) -> None:
        del self.doing[doing][connection]
        self.size -= 1

    def first_to_go(self, now: float) -> C | None:
        new = next(iter(self.doing["new"]), None)
        if new is not None and now - self.doing["new"][new] >= ON_ITS_WAY_S:
            return new
        waiting = next(iter(self.doing["idle"]), next(iter(self.doing["parked"]), None))
        return new if waiting is None else waiting


class Places(Generic[C]):
    """The connections of one server. For one thread."""

    def __init__(self, places: int, for_an_address: int) -> None:
        """Bind.

        Args:
            places: connections at once.
            for_an_address: … of one address.
        """
        self._places, self._for_an_address = places, for_an_address
        self._all: _Crowd[C] = _Crowd()
        self._by_address: dict[str, _Crowd[C]] = {}
        self._known: dict[C, tuple[str, Doing]] = {}

    def __len__(self) -> int:
        return self._all.size

    def come(self, connection: C, address: str, now: float) -> tuple[bool, C | None]:
        """Somebody connects, at a time in seconds. Whether there is a place, and who is to give one up for it."""
        crowd = self._by_address.get(address)
        goes: C | None = None
        if crowd is not None and crowd.size >= self._for_an_address:
            goes = crowd.first_to_go(now)
            if goes is None:
                return False, None
        elif self._all.size >= self._places:
            goes = self._all.first_to_go(now)
            if goes is None:
                return False, None
        if goes is not None:
            self.leave(goes)
        self._known[connection] = (address, "new")
        self._all.add(connection, "new", now)
        self._by_address.setdefault(address, _Crowd()).add(connection, "new", now)
        return True, goes

    def does(self, connection: C, doing: Doing) -> None:
        """What the connection does from now on; nothing for one that has left."""
        known = self._known.get(connection)
        if known is None or known[1] == doing:
            return
        address, before = known
        self._known[connection] = (address, doing)
        for crowd in (self._all, self._by_address[address]):
            crowd.remove(connection, before)
            crowd.add(connection, doing)

    def what(self, connection: C) -> Doing | None:
        """What the connection does; None for one that has left."""
        known = self._known.get(connection)
        return known[1] if known is not None else None

    def leave(self, connection: C) -> None:
        """The connection is gone, or is about to go; again is fine."""
        known = self._known.pop(connection, None)
        if known is None:
            return
        address, doing = known
        self._all.remove(connection, doing)
        crowd = self._by_address[address]
        crowd.remove(connection, doing)
        if not crowd.size:
            del self._by_address[address]

    def those(self, doing: Doing) -> list[C]:
        """Who does this, whoever has done it longest first."""
        return list(self._all.doing[doing])
