"""The commands about a broker of the user's own: `broker config`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from edgelift.common import DatabaseOption, JsonOption, SiteOption, open_database, open_site, print_json
from edgelift.output import say
from edgelift_contract.errors import ContractError


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    group = typer.Typer(help="A broker of your own.", no_args_is_help=True, rich_markup_mode=None)
    # A group, though there is one command.
    group.callback()(_group)
    group.command("config")(_config)
    app.add_typer(group, name="broker")


def _group() -> None:
    """A broker of your own."""


def _config(
    folder: Annotated[Path, typer.Argument(help="Where to; the folder of an earlier time is written again.")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            help="Host name or address by which it is called; may be repeated, the first is the control plane's.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on [default: 0.0.0.0].", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port to listen on [default: 8883].", show_default=False),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", help="Where the folder lies on the broker's machine [default: here].", show_default=False
        ),
    ] = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write what a mosquitto of your own needs to know devices by certificate: its configuration, who may do what,
    certificates, and which of them hold no more. Again, without options: as before, with what changed.
    """
    from msgspec.structs import replace

    from edgelift_fleet.identity.identities import Identities
    from edgelift_fleet.mqtt.broker_folder import BrokerPlan, kept_plan, write_folder

    plan = kept_plan(folder)
    if plan is None and not names:
        raise ContractError(
            "malformed", "By which name is the broker called?", hint="Name it: --name broker.example."
        )
    given = {"names": names or None, "host": host, "port": port, "at": at}
    plan = replace(plan or BrokerPlan([]), **{name: value for name, value in given.items() if value is not None})
    where = open_site(site, database)
    with open_database(where) as db:
        until = write_folder(folder, Identities(where, db), plan)
    if as_json:
        print_json({"folder": str(folder), "names": plan.names, "port": plan.port, "not_after": until})
        return
    say(f"Wrote {folder}; see its README. The broker's certificate holds until {_day(until)}.")
    say(f"Then: edgelift serve --broker mqtts://{plan.names[0]}:{plan.port}")


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))
