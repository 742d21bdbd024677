"""`edgelift keys rotate | revoke | renew`: who may sign changes, and what ends soon is signed anew."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.changing import Outcome, Signing, ToSignOption, begin_change, settle, standing, unlist_retired
from edgelift.common import DatabaseOption, JsonOption, SiteOption, open_registry, print_json
from edgelift.output import say
from edgelift.signing import KeyOption, keys_folder, new_passphrase, site_folder
from edgelift_contract.errors import ContractError

if TYPE_CHECKING:
    from securesystemslib.signer import Key

    from edgelift_fleet.client import Client
    from edgelift_fleet.trust.change import Change

#: Whose keys can be taken and given by a person.
ROLES = ("root", "builder", "online")


def register(keys: typer.Typer) -> None:
    """Add these commands to the group."""
    for name, command in _COMMANDS.items():
        keys.command(name)(command)


def _rotate(
    role: Annotated[str, typer.Argument(help="root, builder or online.", metavar="ROLE")],
    old: Annotated[
        str,
        typer.Option(
            "--old", metavar="KEY", help="The key that goes, of several: its file, or how its id begins."
        ),
    ] = "",
    new: Annotated[
        str,
        typer.Option(
            "--new", metavar="KEY", help="The key that comes: its file, or its public half [default: a new one]."
        ),
    ] = "",
    key: KeyOption = None,
    to_sign: ToSignOption = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put another key in the place of one. All that the old one signed is signed again, and devices follow by themselves."""
    if role not in ROLES:
        raise typer.BadParameter(f"{role!r} is none of {', '.join(ROLES)}", param_hint="ROLE")
    if role == "online" and (old or new):
        raise typer.BadParameter("the control plane makes its key itself", param_hint="--old, --new")
    how = Signing(key or [], keys_folder(site_folder(site)), to_sign)
    with open_registry(site, database) as client:
        held = begin_change(standing(client)).holders(role)
        gone = _the_one(old, role, [one.keyid for one in held.keys])
        comes, made = _coming(client, role, new, how)
        done = settle(
            client, f"rotate {role}", how, lambda change: change.replace(role, [gone], [comes], time.time())
        )
    _tell(
        done,
        how,
        as_json,
        f"The key {comes.keyid[:12]} has taken the place of {gone[:12]}.",
        key=comes.keyid,
        file=made,
    )
    if role != "online" and done == "brought" and not as_json:
        say("The old key signs nothing any more: destroy it.")


def _the_one(named: str, role: str, ids: list[str]) -> str:
    if named:
        return key_id(named, ids)
    if len(ids) > 1:
        raise ContractError(
            "malformed",
            f"{len(ids)} keys are {role}'s: which one goes?",
            hint="Name it: --old KEY; see edgelift keys list.",
        )
    return ids[0]


def key_id(named: str, ids: list[str]) -> str:
    """The key that a person named, by its file or by how its id begins; raises ContractError `not-found`, `malformed`."""
    from edgelift_fleet.trust.key_files import read_key_file

    if Path(named).is_file():
        return read_key_file(Path(named)).key.keyid
    found = [one for one in ids if one.startswith(named.lower())]
    if len(found) == 1 and len(named) >= 4:
        return found[0]
    few = "more than one key" if len(found) > 1 or len(named) < 4 else "no key"
    raise ContractError(
        "not-found", f"{named[:80]!r} is {few} of those who sign.", hint="See: edgelift keys list."
    )


def _coming(client: Client, role: str, new: str, how: Signing) -> tuple[Key, str]:
    """The key that comes, and its file where it was made just now."""
    from edgelift_fleet.messages.trust import OnlineKey
    from edgelift_fleet.trust.key_files import create_key_file, public_key, read_key_file

    if role == "online":
        return public_key(bytes.fromhex(client.post("/v1/trust/online-key", {}, OnlineKey).public)), ""
    if re.match(r"[0-9a-f]{64}\Z", new):
        return public_key(bytes.fromhex(new)), ""
    if new:
        return read_key_file(Path(new)).key, ""
    folder = how.folder or Path()
    name = next(f"{role}-{n}" for n in range(2, 1000) if not (folder / f"{role}-{n}.key").exists())
    path = folder / f"{name}.key"
    signer = create_key_file(path, name, new_passphrase(f"the new key {name}"))
    say(f"Made the key {path}", to_errors=True)
    how.signers.append(signer)
    return signer.public_key, str(path)


def _revoke(
    key: Annotated[str, typer.Argument(help="Its file, or how its id begins.", metavar="KEY")],
    signing: KeyOption = None,
    to_sign: ToSignOption = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a key out, as one that was stolen: whatever it signed is signed again by the others, or counts no more."""
    how = Signing(signing or [], keys_folder(site_folder(site)), to_sign)
    with open_registry(site, database) as client:
        stands = begin_change(standing(client))
        held = {role: [one.keyid for one in stands.holders(role).keys] for role in ROLES}
        gone = key_id(key, sorted({one for ids in held.values() for one in ids}))
        roles = [role for role, ids in held.items() if gone in ids]
        if not roles:
            raise ContractError(
                "not-found", f"The key {gone[:12]} signs nothing here.", hint="See: edgelift keys list."
            )

        def make(change: Change) -> None:
            for role in roles:
                change.replace(role, [gone], [], time.time())

        done = settle(client, f"revoke {gone[:12]}", how, make)
    _tell(done, how, as_json, f"The key {gone[:12]} signs nothing any more ({', '.join(roles)}).", key=gone)


def _renew(
    all_: Annotated[bool, typer.Option("--all", help="Everything, not only what ends soon.")] = False,
    key: KeyOption = None,
    to_sign: ToSignOption = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Sign what ends within 90 days anew, as it is; and list no more what was retired and nobody has."""
    from edgelift_fleet.trust.expiring import RENEW_DAYS

    how = Signing(key or [], keys_folder(site_folder(site)), to_sign)
    with open_registry(site, database) as client:
        now = standing(client)

        def make(change: Change) -> None:
            change.renew(time.time(), 36_500 if all_ else RENEW_DAYS)
            unlist_retired(change, now)

        done = settle(client, "renew", how, make)
    _tell(
        done,
        how,
        as_json,
        "Signed anew.",
        unchanged=f"Nothing ends within {RENEW_DAYS} days; to sign it all: --all.",
    )


def _tell(done: Outcome, how: Signing, as_json: bool, brought: str, unchanged: str = "", **more: str) -> None:
    if as_json:
        print_json({"done": done, **more, "to_sign": str(how.to_sign or "")})
    elif done == "brought":
        say(brought)
    elif done == "unchanged":
        say(unchanged)


_COMMANDS: dict[str, Callable[..., None]] = {"rotate": _rotate, "revoke": _revoke, "renew": _renew}
