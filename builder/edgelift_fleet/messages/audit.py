"""The log of what people did, and how its entries hang together: each bears a digest over itself and the one before."""

from __future__ import annotations

import msgspec

from edgelift_contract import codec

#: Where a log begins: the digest before its first entry.
BEGINNING = "0" * 64


class AuditEntry(msgspec.Struct, frozen=True):
    """Something that somebody did, or was refused.

    Attributes:
        number: from 1, without gaps.
        at: when, by the server's clock.
        who: a person, `token:ID`, `site` for the site's own token; empty for somebody whom nobody knows.
        role: theirs then.
        address: where the request came from.
        operation, method, path: what was asked for.
        about: the names in its path; or what else there is to say.
        why: the reason that they gave.
        outcome: `begun` before a change is made; then, in an entry of its own, `done` or the code of a refusal.
        ends: number of the entry whose outcome this is; 0 for none.
        digest: SHA-256 over the digest before and all of the above.
    """

    number: int
    at: float
    who: str
    role: str
    address: str
    operation: str
    method: str
    path: str
    about: str
    why: str
    outcome: str
    ends: int
    digest: str = ""


def digest_of_entry(entry: AuditEntry, before: str) -> str:
    """The digest that an entry must bear after one with the digest `before`. Pure."""
    said = msgspec.structs.replace(entry, digest="")
    return codec.digest(before.encode() + codec.canonical_json(said))


class BrokenAt(msgspec.Struct, frozen=True):
    """The first entry that is not what was written: its number, and what is wrong."""

    number: int
    wrong: str


class Chain:
    """Holds entries, as they come, against each other."""

    def __init__(self) -> None:
        self.number, self.head = 0, BEGINNING

    def take(self, read: object) -> BrokenAt | None:
        """As `add`, of the next entry as it was read: what was put in its place in the database can be anything."""
        try:
            entry = msgspec.convert(read, AuditEntry)
        except msgspec.ValidationError as error:
            return BrokenAt(self.number + 1, f"entry {self.number + 1} was altered: {error}")
        return self.add(entry)

    def add(self, entry: AuditEntry) -> BrokenAt | None:
        """The next entry: None where it follows, else what is wrong with it."""
        if entry.number != self.number + 1:
            missing = f"{self.number + 1}" if entry.number == self.number + 2 else f"{self.number + 1} and more"
            return BrokenAt(self.number + 1, f"entry {missing} is missing before {entry.number}")
        if entry.digest != digest_of_entry(entry, self.head):
            return BrokenAt(entry.number, f"entry {entry.number} was altered, or what stood before it")
        self.number, self.head = entry.number, entry.digest
        return None
