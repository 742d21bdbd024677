"""`edgelift restored`: who went on since the backup of which a site was made, and keeps what it runs; and telling them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, SiteOption, open_client, print_json
from edgelift.completion import names
from edgelift.output import moment, say, show_table

if TYPE_CHECKING:
    from edgelift_fleet.messages import RestoredView

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("restored")(_restored)


def _restored(
    devices: Annotated[
        list[str] | None,
        typer.Argument(help="With --tell: these alone [default: all].", autocompletion=names("devices")),
    ] = None,
    tell: Annotated[
        bool,
        typer.Option("--tell", help="Tell them what the site says; without names all, and whoever comes later."),
    ] = False,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which devices went on since the backup of which the site was made, and would run something else now."""
    from edgelift_fleet.messages import RestoredView, TellReply, TellRequest

    if devices and not tell:
        raise typer.BadParameter("names are for --tell; without it all are shown", param_hint="DEVICES")
    client = open_client(site)
    if tell:
        made = client.post("/v1/restored/tell", TellRequest(devices or []), TellReply)
        if as_json:
            print_json(made)
        else:
            say(f"Told: {len(made.told)} devices.")
            if not made.holds:
                say("Whoever comes back and has seen more than the backup knows is told at once from now on.")
        return
    found = client.get("/v1/restored", RestoredView)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: RestoredView) -> None:
    say(f"Restored on {moment(found.restored_at)} from a backup of {moment(found.made_at)}.")
    if not found.holds:
        say("Devices that went on since are told what the site says as soon as they are heard of.")
        return
    if not found.devices:
        say("No device was heard of so far that went on since and runs something else than the site says.")
        return
    say(f"{found.devices} devices went on since, and keep what they run:")
    rows = [(one.device, one.slot, one.says or "nothing", one.runs or "nothing") for one in found.went_on[:_SHOWN]]
    show_table(("device", "slot", "the site says", "runs version"), rows)
    if (more := len(found.went_on) - _SHOWN) > 0:
        say(f"… and {more} more: --json shows them.")
    say(
        "To have them run what the site says: edgelift restored --tell. To have them keep it: assign that to them."
    )
