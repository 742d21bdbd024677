"""`edgelift keys export | sign | bring`: signed where the keys are, on a machine that has neither site nor network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from edgelift.changing import Signing, bring, check, refuse_lacking, show, sign, tell_next
from edgelift.common import DatabaseOption, JsonOption, SiteOption, open_registry, print_json
from edgelift.listing_releases import export
from edgelift.output import say
from edgelift.signing import KeyOption, keys_folder, site_folder

_FileArgument = Annotated[Path, typer.Argument(help="The file that is carried.", metavar="FILE")]


def register(keys: typer.Typer) -> None:
    """Add these commands to the group."""
    for name, command in _COMMANDS.items():
        keys.command(name)(command)


def _export(
    file: _FileArgument,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--release", metavar="FOLDER", help="A release folder that is to be published; several may be named."
        ),
    ] = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write what is to be signed into a file, with no key here: releases, what ends soon, what was retired."""
    how = Signing(to_sign=file, ask=False)
    with open_registry(site, database) as client:
        export(client, folders or [], how, renew=True, progress=lambda *_: None, as_json=as_json)


def _sign(file: _FileArgument, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Sign such a file with keys that are here, after it is shown what that is; needs no site and no network."""
    from edgelift_fleet.trust.carried import carried, change_of, read_carried, write_carried

    found = read_carried(file)
    change = change_of(found)
    say(f"{file}: {found.why}", to_errors=True)
    how = Signing(key or [], keys_folder(site_folder(None)))
    check(change, found.standing, how)
    show(change, found.standing)
    signed = [one.name for one in sign(change, how)]
    write_carried(file, carried(change, found.standing, found.why), again=True)
    lacking = change.lacking()
    if as_json:
        print_json({"file": str(file), "signed": signed, "lacking": lacking})
        return
    if signed:
        say(f"Signed with {', '.join(signed)}.")
    tell_next(file, change)


def _bring(
    file: _FileArgument, site: SiteOption = None, database: DatabaseOption = "", as_json: JsonOption = False
) -> None:
    """Give a file that enough have signed to the control plane; of a release, publish that then."""
    from edgelift_fleet.trust.carried import change_of, read_carried

    found = read_carried(file)
    change = change_of(found)
    refuse_lacking(change)
    with open_registry(site, database) as client:
        versions = bring(client, change)
    if as_json:
        print_json({"why": found.why, "versions": versions})
        return
    say(f"Brought: {found.why}.")
    if found.why.startswith("publish"):
        say("Now publish it: edgelift publish RELEASE_FOLDER")


_COMMANDS: dict[str, Callable[..., None]] = {"export": _export, "sign": _sign, "bring": _bring}
