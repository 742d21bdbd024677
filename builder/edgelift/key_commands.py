"""`edgelift keys`: the keys by which a site says what is genuine: made here, shown, and the site that begins to sign."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift import key_changes, key_files_carried
from edgelift.common import (
    BlobsOption,
    DatabaseOption,
    JsonOption,
    SiteOption,
    open_registry,
    open_site,
    print_json,
)
from edgelift.output import make_console, moment, say, show_table
from edgelift.signing import PRESETS, begin, keys_folder, new_passphrase, site_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from edgelift_fleet.messages.trust import SigningRole
    from edgelift_fleet.site import Site
    from edgelift_fleet.trust.image import Listed


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    keys = typer.Typer(
        help="The keys that sign: who may say what is genuine, and until when.", no_args_is_help=True,
        rich_markup_mode=None,
    )  # fmt: skip
    keys.command("create")(_create)
    keys.command("begin")(_begin)
    keys.command("list")(_list)
    key_changes.register(keys)
    key_files_carried.register(keys)
    app.add_typer(keys, name="keys")


def _create(
    name: Annotated[str, typer.Argument(help="For people, as builder-anna; the file is NAME.key.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Where [default: $EDGELIFT_KEYS, else this folder].", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key under a passphrase, on any machine: it needs no site. What it may sign, `keys rotate --new` says."""
    from edgelift_contract.ids import check_name
    from edgelift_fleet.trust.key_files import create_key_file

    check_name("key", name)
    path = (out or keys_folder(None) or Path()) / f"{name}.key"
    made = create_key_file(path, name, new_passphrase(f"the new key {name}")).public_key
    public = str(made.keyval["public"])
    if as_json:
        print_json({"file": str(path), "key": made.keyid, "public": public})
        return
    say(f"Made the key {path}, {made.keyid[:12]}")
    say(f"To have it sign, where the control plane is reached: edgelift keys rotate builder --new {public}")


def _begin(
    site: SiteOption = None,
    database: DatabaseOption = "",
    blobs: BlobsOption = "",
    preset: Annotated[
        str,
        typer.Option("--signers", help="Who signs: one-person, or 2-of-3 for releases and for who may sign them."),
    ] = "one-person",
    as_json: JsonOption = False,
) -> None:
    """Let a site that signs nothing begin to: make its keys, and list as genuine all that is published, in one step."""
    if preset not in PRESETS:
        raise typer.BadParameter(f"{preset!r} is none of {', '.join(PRESETS)}", param_hint="--signers")
    where = open_site(site, database, blobs)
    number, refused = _published(where)
    if refused:
        raise refused
    paths = begin(
        where, PRESETS[preset], new_passphrase("the site's signing keys"), lambda s: _reading(where, s, number)
    )
    if as_json:
        print_json({"keys": [str(path) for path in paths], "listed": number})
        return
    for path in paths:
        say(f"Made the signing key {path}")
    say(f"The site signs from now on; {number} artifacts that are published are listed as genuine.")
    say("Keep the root keys elsewhere, as on a stick in a drawer: they say who may sign, and are seldom needed")


def _published(site: Site) -> tuple[int, Exception | None]:
    """How many artifacts are to be listed; and why it can't begin, before anybody chooses a passphrase."""
    from edgelift.common import open_database
    from edgelift_fleet.listed import begun, count_published

    with open_database(site) as db, db.read() as session:
        return count_published(session), begun(session)


def _reading(site: Site, session: Session, number: int) -> Iterator[Listed]:
    """What is published, as it is to be listed, with a bar where somebody watches."""
    from rich.progress import track

    from edgelift_fleet.listed import published
    from edgelift_fleet.remote_blobs import open_blobs

    console = make_console(to_errors=True)
    found = published(session, open_blobs(site), {})
    yield from track(
        found, "listing", total=number, console=console, transient=True, disable=not console.is_terminal
    )


def _list(site: SiteOption = None, database: DatabaseOption = "", as_json: JsonOption = False) -> None:
    """Show who signs what, with which keys, how many it takes, and until when what they signed holds."""
    from edgelift_fleet.messages.trust import SigningView

    with open_registry(site, database) as client:
        found = client.get("/v1/trust", SigningView)
    if as_json:
        print_json(found)
        return
    if not found.roles:
        say("This site signs nothing. Let it begin to: edgelift keys begin.")
        return
    here = _here(keys_folder(site_folder(site)))
    show_table(
        ("role", "key", "its file here", "takes", "holds until"),
        [row for role in found.roles for row in _rows(role, here)],
    )
    for line in found.warnings:
        say(line)


def _here(folder: Path | None) -> dict[str, Path]:
    """Key id → its file, of those that are here and can be read."""
    from edgelift_contract.errors import EdgeliftError
    from edgelift_fleet.trust.key_files import read_key_file

    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.key")) if folder is not None and folder.is_dir() else []:
        try:
            found[read_key_file(path).key.keyid] = path
        except EdgeliftError as error:
            say(f"{error.message} {error.hint}".rstrip(), to_errors=True)
    return found


def _rows(role: SigningRole, here: dict[str, Path]) -> list[tuple[str, ...]]:
    days = (role.expires_at - time.time()) / 86400
    until = f"{moment(role.expires_at)}, in {days:.0f} days" if days >= 0 else f"{moment(role.expires_at)}: ENDED"
    if role.role == "online":
        until += ", renewed by the control plane"
    takes = f"{role.threshold} of {len(role.keys)}"
    rows: list[tuple[str, ...]] = []
    for number, key in enumerate(role.keys):
        first = (takes, until) if number == 0 else ("", "")
        own = "the control plane's own" if role.role == "online" else "–"
        rows.append(
            (role.role if number == 0 else "", key.id[:12], here[key.id].name if key.id in here else own, *first)
        )
    return rows
