"""A change to what is signed, before it is signed: both repositories as they stand, and what is to be different.

Releases are listed in the image repository alone. Who holds which key stands in the roots of both, so that a key is
replaced in both at once, or in none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from edgelift_contract.errors import ContractError
from edgelift_fleet.trust.image import DAYS, Holders, Image, expires, goes_back

#: Roles of the control plane's key, and where they stand.
ONLINE = {"image": ("snapshot", "timestamp"), "director": ("targets", "snapshot", "timestamp")}
#: Roles of the root keys, likewise.
_TOP = {"image": ("root", "targets"), "director": ("root",)}


class Change:
    """What is to be signed.

    Attributes:
        image: the image repository.
        director: the director's root, and nothing else.
    """

    def __init__(self, image: Image, director: Image) -> None:
        self.image, self.director = image, director

    @classmethod
    def of(cls, image: Mapping[str, bytes], director: bytes) -> Change:
        """What stands, nothing of it changed yet. Raises ContractError `malformed`."""
        return cls(Image.load(image), Image.load({"root": director}))

    def __bool__(self) -> bool:
        """Is anything to be signed?"""
        return bool(self.image.changed or self.director.changed)

    def signing(self) -> list[Holders]:
        """Who must sign, each group once."""
        found: list[Holders] = []
        for part in (self.image, self.director):
            for name in sorted(part.changed):
                found += [one for one in part.signing(name) if one not in found]
        return found

    def sign(self, signers: Iterable[CryptoSigner]) -> None:
        """Sign what changed, each role by those of these keys that may."""
        signers = list(signers)
        for part in (self.image, self.director):
            part.sign(signers)

    def lacking(self) -> dict[str, int]:
        """Role → how many signatures it lacks; the director's root as `director`."""
        director = self.director.lacking().get("root", 0)
        return self.image.lacking() | ({"director": director} if director else {})

    # --- who holds which key ---

    def holders(self, role: str) -> Holders:
        """Of `root`, `builder` or `online`."""
        if role == "builder":
            return self.image.builders()
        root: Root = self.image.roles["root"].signed
        found = root.roles["root" if role == "root" else "timestamp"]
        return Holders(tuple(root.keys[keyid] for keyid in found.keyids), found.threshold)

    def replace(self, role: str, old: Collection[str], new: Iterable[Key], now: float) -> None:
        """Take these keys from `root`, `builder` or `online`, and let others have it.

        Raises:
            ContractError: `not-found` for a key that does not have it, `conflict` for one that has it already, or when
                fewer would be left than must sign.
        """
        was, new = self.holders(role), list(new)
        ids = [key.keyid for key in was.keys]
        _refuse(role, was, old, new)
        keys = [key for key in was.keys if key.keyid not in old]
        for key in new:  # in the old one's place
            keys.insert(min(len(keys), min((ids.index(one) for one in old), default=len(keys))), key)
        left = Holders(tuple(keys), was.threshold)
        if role == "builder":
            self.image.delegate(left, now)
            return
        for name, part in (("image", self.image), ("director", self.director)):
            part.touch("root", now)
            root: Root = part.roles["root"].signed
            for one in (_TOP if role == "root" else ONLINE)[name]:
                for keyid in list(root.roles[one].keyids):
                    root.revoke_key(keyid, one)
                for key in left.keys:
                    root.add_key(key, one)
        if role == "root":
            self.image.touch("targets", now)

    def renew(self, now: float, within_days: float) -> None:
        """Sign what holds for less than this many days more, as it is, for its whole time from now."""
        for name in [*self.image.roles]:
            if self.image.roles[name].signed.expires <= expires(now, within_days):
                self.image.touch(name, now)
        root = self.director.roles["root"].signed
        if "root" in self.image.changed or root.expires <= expires(now, within_days):
            self.image.touch("root", now)
            self.director.touch("root", now)

    # --- what it says to whoever signs it ---

    def told(self, before: Mapping[str, Metadata[Any]]) -> Iterator[str]:
        """What is different from `before`, the image repository as it stands, a line each."""
        for name, part in (("image", self.image), ("director", self.director)):
            if "root" in part.changed:
                root: Root = part.roles["root"].signed
                yield f"the {name} repository's root {root.version}: {_roles(root)}"
        if "targets" in self.image.changed:
            holders = self.image.builders()
            yield f"who lists releases: {_names(holders.keys)}, of whom {holders.threshold} must sign"
        again = 0
        for name in sorted(self.image.changed - {"root", "targets"}):
            now: Targets = self.image.roles[name].signed
            then: dict[str, Any] = before[name].signed.targets if name in before else {}
            yield from (
                _line(_becomes(then.get(path), one), path, one)
                for path, one in now.targets.items()
                if then.get(path) != one
            )
            yield from (_line("no more", path, one) for path, one in then.items() if path not in now.targets)
            again += now.targets == then
        if again:
            yield f"{again} {'role' if again == 1 else 'roles'} as before, for {DAYS['builder']} days from their signing"


def _refuse(role: str, was: Holders, old: Collection[str], new: list[Key]) -> None:
    ids = {key.keyid for key in was.keys}
    for keyid in old:
        if keyid not in ids:
            raise ContractError(
                "not-found", f"The key {keyid[:12]} is none of {role}'s.", hint="edgelift keys list"
            )
    for key in new:
        if key.keyid in ids:
            raise ContractError("conflict", f"The key {key.keyid[:12]} is one of {role}'s already.")
    left = len(ids) - len(set(old)) + len(new)
    if left < was.threshold:
        raise ContractError(
            "conflict",
            f"{left} {'key' if left == 1 else 'keys'} of {role} would be left, and {was.threshold} must sign: nobody could"
            " sign anything any more.",
            hint=f"Put another in its place in the same step: edgelift keys rotate {role}.",
        )  # fmt: skip


def _roles(root: Root) -> str:
    return "; ".join(
        f"{name} {_names(root.keys[keyid] for keyid in role.keyids)}"
        + (f" ({role.threshold} of {len(role.keyids)})" if len(role.keyids) > 1 else "")
        for name, role in root.roles.items()
    )


def _names(keys: Iterable[Key]) -> str:
    return ", ".join(key.keyid[:12] for key in keys)


def _becomes(then: TargetFile | None, now: TargetFile) -> str:
    """In words, what is different of an artifact that is listed."""
    if then is None:
        return "genuine, and devices may go back to it" if goes_back(now) else "genuine"
    if goes_back(then) != goes_back(now):
        return "devices may go back to it" if goes_back(now) else "devices may not go back to it any more"
    return "genuine"


def _line(what: str, path: str, target: Any) -> str:
    _, hardware_class, runtime, model, artifact = path.split("/")
    said = target.unrecognized_fields.get("custom", {})
    return f"{what}: {model}@{said.get('version', '?')} for {hardware_class}, {runtime}, artifact {artifact[:16]}"
