"""How long each role of both repositories holds, who signs it, and what to do before it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tuf.api.metadata import Metadata

from edgelift_fleet.messages.trust import KeyView, SigningRole
from edgelift_fleet.trust.image import Holders, Image
from edgelift_fleet.trust.store import Stored

#: Somebody must come with a key from a drawer: that long before, days.
WARN_DAYS = 30
#: And who comes may as well sign what ends within so many.
RENEW_DAYS = 90


def signing_roles(image: Mapping[str, Stored], director: Mapping[str, Stored]) -> Iterator[SigningRole]:
    """Root, targets, builder and online: who signs, and until when all that they signed holds."""
    loaded = Image.load({role: one.body for role, one in image.items()})
    top = Metadata[Any].from_bytes(director["root"].body)
    below = [one for name, one in loaded.roles.items() if name == "builder" or name.startswith(("model.", "bin."))]
    for role, holders, parts in (
        ("root", loaded.held("root"), [loaded.roles["root"], top]),
        ("targets", loaded.held("targets"), [loaded.roles["targets"]]),
        ("builder", loaded.builders(), below),
        (
            "online",
            loaded.held("timestamp"),
            [loaded.roles[name] for name in ("snapshot", "timestamp") if name in image],
        ),
    ):
        yield _role(role, holders, parts)


def _role(role: str, holders: Holders, parts: Iterable[Metadata[Any]]) -> SigningRole:
    until = min((one.signed.expires.timestamp() for one in parts), default=0.0)
    keys = [KeyView(key.keyid, str(key.keyval.get("public", ""))) for key in holders.keys]
    return SigningRole(role, keys, holders.threshold, until)


def warnings(roles: Iterable[SigningRole], now: float) -> Iterator[str]:
    """A sentence for each role that ends within `WARN_DAYS`, with what to do; the online key renews its own by itself."""
    for one in roles:
        days = (one.expires_at - now) / 86400
        if one.role != "online" and days < WARN_DAYS:
            when = f"in {days:.0f} days" if days >= 1 else "today" if days > 0 else f"{-days:.0f} days ago"
            said = "What" if one.role == "builder" else f"The role {one.role} that"
            yield (
                f"{said} the {'builder' if one.role == 'builder' else 'root'} keys signed {'ends' if days > 0 else 'ended'}"
                f" {when}: devices take nothing new then, and run on what they have. Sign it anew: edgelift keys renew."
            )


def expiring(image: Mapping[str, Stored], director: Mapping[str, Stored], now: float) -> list[str]:
    """The same of what is stored; empty where nothing is signed."""
    return list(warnings(signing_roles(image, director), now)) if "root" in image and "root" in director else []
