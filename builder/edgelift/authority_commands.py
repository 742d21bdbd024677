"""The commands about the site's authority: `authority show`, `metrics`, `rotate`, `finish`, `make`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import DatabaseOption, JsonOption, SiteOption, open_database, open_site, print_json
from edgelift.groups import add_group
from edgelift.output import say
from edgelift.reach import WhyOption
from edgelift_contract.errors import ContractError

if TYPE_CHECKING:
    from edgelift_fleet.db import Database
    from edgelift_fleet.identity.changing import AuthorityChange
    from edgelift_fleet.site import Site

_TOKENS = "Tokens that were made before hold no more: {count}. Make others: edgelift token create."


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    add_group(
        app, "authority",
        "The site's authority, which makes all certificates: show it, change it, make another after a loss.",
        {"show": _show, "metrics": _metrics, "rotate": _rotate, "finish": _finish, "make": _make},
    )  # fmt: skip


def _show(site: SiteOption = None, database: DatabaseOption = "", as_json: JsonOption = False) -> None:
    """Show who is trusted, and how many devices have certificates of whom."""
    from edgelift_fleet.identity.changing import named, states

    where = open_site(site, database)
    with open_database(where) as db:
        found, left = states(where, db)
    if as_json:
        print_json({"authorities": found, "left": left})
        return
    for one in found:
        does = " and ".join(word for word, holds in (("signs", one.signs), ("is shown", one.shown)) if holds)
        until = time.strftime("%Y-%m-%d", time.gmtime(one.not_after))
        say(f"{one.pin}: {does}; holds until {until}; {one.devices} devices have certificates of it")
    if left:
        say(f"{len(left)} devices have shown no certificate of the new one yet: {named(left)}")
    elif len(found) > 1:
        say("All devices have certificates of the new one. Next: edgelift authority finish")


def _metrics(site: SiteOption = None, database: DatabaseOption = "", as_json: JsonOption = False) -> None:
    """Print whom a scraper trusts to know devices by, as certificates (PEM): Prometheus' `ca_file`."""
    from edgelift_fleet.identity.changing import metrics_authorities

    found = metrics_authorities(open_site(site, database))
    if as_json:
        print_json({"certificates": found})
        return
    for line in found.splitlines():
        say(line)


def _rotate(
    site: SiteOption = None, database: DatabaseOption = "", why: WhyOption = "", as_json: JsonOption = False
) -> None:
    """Begin to change the authority: another is made and trusted beside it; devices learn it within a day."""
    from edgelift_fleet.identity.changing import rotate

    made = _changed(site, database, lambda where, db: rotate(where, db, why))
    if as_json:
        print_json(made)
        return
    say(f"Made the authority {made.pin[:16]}; both are trusted now, and a running server knows within seconds.")
    say("Devices ask for certificates of it once a day. Then: edgelift authority show; edgelift authority finish")


def _finish(
    force: Annotated[
        bool, typer.Option("--force", help="Also if devices are left behind: each must be enrolled again.")
    ] = False,
    site: SiteOption = None,
    database: DatabaseOption = "",
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """End the change of the authority: the old one is trusted no more."""
    from edgelift_fleet.identity.changing import finish

    _tell(_changed(site, database, lambda where, db: finish(where, db, why, force=force)), as_json=as_json)


def _make(
    again: Annotated[
        bool,
        typer.Option("--again", help="Yes: the old one's key is lost, and all devices are to be enrolled again."),
    ] = False,
    site: SiteOption = None,
    database: DatabaseOption = "",
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make another authority because the old one's key is lost. Devices go on serving, and must be enrolled again."""
    from edgelift_fleet.identity.changing import enrolled, make_again

    def change(where: Site, db: Database) -> AuthorityChange:
        if not again:
            raise ContractError(
                "conflict",
                f"{len(enrolled(db))} devices would trust the site no more until each is enrolled again by a token.",
                hint="A backup with secrets (edgelift restore) has the lost key. To go on: edgelift authority make"
                " --again.",
            )
        return make_again(where, db, why)

    _tell(_changed(site, database, change), as_json=as_json)


def _changed(
    site: Path | None, database: str, change: Callable[[Site, Database], AuthorityChange]
) -> AuthorityChange:
    where = open_site(site, database)
    with open_database(where) as db:
        return change(where, db)


def _tell(made: AuthorityChange, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    say(f"The authority {made.pin[:16]} alone is trusted from now on; a running server knows within seconds.")
    if made.tokens:
        say(_TOKENS.format(count=made.tokens))
    if made.left:
        say(
            f"{len(made.left)} devices must be enrolled again, by edgelift token create and edgelift-agent enroll --again:"
        )
        for device in made.left:
            say(f"  {device}")
