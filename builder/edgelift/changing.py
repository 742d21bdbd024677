"""A change to what is signed, from what stands to what is brought: shown, signed with keys that are here, or carried."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgelift.output import say
from edgelift.signing import unsealed
from edgelift_contract.errors import ContractError, DeviceError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from edgelift_fleet.client import Client
    from edgelift_fleet.messages.trust import ImageRoles
    from edgelift_fleet.trust.change import Change
    from edgelift_fleet.trust.image import Holders
    from edgelift_fleet.trust.key_files import KeyFile

ToSignOption = Annotated[
    Path | None,
    typer.Option(
        "--to-sign", metavar="FILE", show_default=False,
        help="Change nothing yet: write what is to be signed into this file, to be carried to more keys.",
    ),
]  # fmt: skip

#: How often what was signed may turn out to be on something old.
_TRIES = 5
#: Lines that are shown of what is signed; a file has all of them.
_SHOWN = 40

Outcome = Literal["unchanged", "brought", "carried"]


@dataclass
class Signing:
    """By whom something is signed.

    Attributes:
        named: key files that were named.
        folder: where keys are looked for if none was.
        to_sign: the file to be carried instead of bringing it at once.
        signers: keys that are open already.
        ask: whether keys that are here sign a file that is carried.
    """

    named: Sequence[Path] = ()
    folder: Path | None = None
    to_sign: Path | None = None
    signers: list[CryptoSigner] = field(default_factory=list)
    ask: bool = True

    @property
    def place(self) -> Path | None:
        """Where the root is remembered that was seen last: beside the keys."""
        return self.named[0].parent if self.named else self.folder


def standing(client: Client) -> ImageRoles:
    """What is signed now. Raises ContractError `not-found` where nothing is."""
    from edgelift_fleet.messages.trust import ImageRoles

    found = client.get("/v1/trust/image", ImageRoles)
    if not found.roles:
        raise ContractError("not-found", "This site signs nothing.", hint="Let it begin to: edgelift keys begin.")
    return found


def begin_change(now: ImageRoles) -> Change:
    """A change of what stands, in which nothing is different yet."""
    from edgelift_fleet.trust.change import Change

    return Change.of({role: text.encode() for role, text in now.roles.items()}, now.director.encode())


def _listed(change: Change) -> set[str]:
    bins = (one.signed.targets for name, one in change.image.roles.items() if name.startswith("bin."))
    return {path.rpartition("/")[2] for targets in bins for path in targets}


def unlist_retired(change: Change, now: ImageRoles, but: set[str] | None = None) -> None:
    """What no release and no device needs any more is listed no more; but for `but`."""
    gone = set(now.retired) - (but or set())
    for role in [name for name in change.image.roles if name.startswith("model.")] if gone else []:
        change.image.unlist(role.removeprefix("model."), gone, time.time())


def settle(client: Client, why: str, how: Signing, make: Callable[[Change], None]) -> Outcome:
    """Make a change, have it signed, and bring it; or write it down to be carried.

    Args:
        client: the control plane.
        why: in a person's words, as `publish digits@3`.
        how: by whom.
        make: makes the change, on what stands; once more when somebody else was faster.

    Raises:
        ContractError: `not-found` where nothing is signed, or no key is here; `not-signed` when more must sign.
    """
    for tries_left in reversed(range(_TRIES)):
        now = standing(client)
        change = begin_change(now)
        before = _listed(change)
        make(change)
        if not change:
            return "unchanged"
        unlist_retired(change, now, _listed(change) - before)
        check(change, now, how)
        show(change, now)
        if how.to_sign is not None:
            _carry(how.to_sign, change, now, why, how)
            return "carried"
        sign(change, how)
        refuse_lacking(change)
        try:
            bring(client, change)
        except ContractError as error:
            if error.code != "changed-meanwhile" or not tries_left:
                raise
            say("Somebody else signed something meanwhile; it is signed again.", to_errors=True)
        else:
            return "brought"
    raise AssertionError("unreachable")


def bring(client: Client, change: Change) -> dict[str, int]:
    """Give it to the control plane; role → version. Raises what the control plane refuses."""
    from edgelift_fleet.messages.trust import ImageChanged
    from edgelift_fleet.trust.carried import brought

    return client.put("/v1/trust/image", brought(change), ImageChanged).versions


def check(change: Change, now: ImageRoles, how: Signing) -> None:
    """What stands is not believed: see `anchoring.check_change`, which says what it raises. Its root is remembered then."""
    from edgelift_fleet.trust.anchoring import check_change, remember

    standing = {role: text.encode() for role, text in now.roles.items()}
    check_change(change, standing, how.place, time.time())
    if how.place is not None and how.place.is_dir():
        try:
            remember(standing["root"], how.place)
        except DeviceError as error:  # as on a stick that can't be written
            say(f"The root is not remembered: {error.message}", to_errors=True)


def show(change: Change, now: ImageRoles) -> None:
    """What is to be signed, before anybody is asked for a passphrase."""
    from edgelift_fleet.trust.image import Image

    lines = list(change.told(Image.load({role: text.encode() for role, text in now.roles.items()}).roles))
    say("To be signed:", to_errors=True)
    for line in lines[:_SHOWN]:
        say(f"  {line}", to_errors=True)
    if len(lines) > _SHOWN:
        say(f"  … and {len(lines) - _SHOWN} more", to_errors=True)


def sign(change: Change, how: Signing) -> list[KeyFile]:
    """Sign with keys that are here, of each group as many as it takes; returns whose files were opened.

    Raises:
        ContractError: `not-found` when no key is here of those who may sign; as `unsealed`.
    """
    change.sign(how.signers)
    files = choose(change, how)
    made = unsealed(files)
    change.sign(made)
    how.signers += made
    return files


def choose(change: Change, how: Signing) -> list[KeyFile]:
    """The key files that are to be opened: those who may sign and have not; none where what is open is enough.

    Raises:
        ContractError: `not-found`; as `read_key_file`.
    """
    from edgelift_fleet.trust.key_files import read_key_file

    if not change.lacking():
        return []
    folder = how.folder
    paths = list(how.named) or (sorted(folder.glob("*.key")) if folder is not None and folder.is_dir() else [])
    files = {file.key.keyid: file for path in paths for file in [read_key_file(path)]}
    have = {signer.public_key.keyid for signer in how.signers} | signed_by(change)
    chosen: dict[str, KeyFile] = {}
    for group in change.signing():
        ids = [key.keyid for key in group.keys]
        left = group.threshold - sum(one in have for one in ids)
        for one in [one for one in ids if one in files and one not in have][: max(0, left)]:
            chosen[one] = files[one]
            have.add(one)
    if not chosen and not how.signers:
        where = ", ".join(map(str, how.named)) or how.folder or "no folder"
        raise ContractError(
            "not-found", f"Who must sign this has no key in {where}.",
            hint="Name one: --key FILE, or their folder: $EDGELIFT_KEYS; or write it into a file that is carried to them:"
            " --to-sign FILE.",
        )  # fmt: skip
    return list(chosen.values())


def signed_by(change: Change) -> set[str]:
    """Keys that have signed all that they may of a change."""
    parts = (change.image, change.director)
    signed: dict[str, bool] = {}
    for part in parts:
        for name in part.changed:
            for group in part.signing(name):
                for key in group.keys:
                    signed[key.keyid] = signed.get(key.keyid, True) and key.keyid in part.roles[name].signatures
    return {keyid for keyid, all_ in signed.items() if all_}


def refuse_lacking(change: Change) -> None:
    """Raises ContractError `not-signed` when more must sign."""
    if lacking := change.lacking():
        raise ContractError(
            "not-signed", f"{lacking_in_words(change, lacking)}: the keys that are here are not enough.",
            hint="Name their keys too (--key FILE); or run this with --to-sign FILE, have them sign that file where their"
            " keys are (edgelift keys sign FILE), and bring it back (edgelift keys bring FILE).",
        )  # fmt: skip


def lacking_in_words(change: Change, lacking: dict[str, int]) -> str:
    """Who has not signed yet."""
    have = signed_by(change)
    groups: list[Holders] = [
        one for one in change.signing() if sum(k.keyid in have for k in one.keys) < one.threshold
    ]
    parts = [
        f"{one.threshold - sum(k.keyid in have for k in one.keys)} more of"
        f" {', '.join(k.keyid[:12] for k in one.keys if k.keyid not in have)}"
        for one in groups
    ]
    return f"{' and '.join(parts) or f'{max(lacking.values())} more'} must sign"


def _carry(path: Path, change: Change, now: ImageRoles, why: str, how: Signing) -> None:
    from edgelift_fleet.trust.carried import carried, write_carried

    try:
        if how.ask:
            sign(change, how)
    except ContractError as error:
        if error.code != "not-found":
            raise
    write_carried(path, carried(change, now, why))
    tell_next(path, change)


def tell_next(path: Path, change: Change) -> None:
    """What to do with a file that is carried."""
    if lacking := change.lacking():
        say(
            f"{lacking_in_words(change, lacking)}. Carry {path} to their keys, and there: edgelift keys sign {path}"
        )
    else:
        say(f"It is signed. Bring it where the control plane can be reached: edgelift keys bring {path}")
