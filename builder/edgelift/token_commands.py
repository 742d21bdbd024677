"""The commands about tokens by which devices enrol: `token create`, `token list`, `token revoke`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from edgelift.common import JsonOption, SiteOption, open_client, print_json
from edgelift.completion import names
from edgelift.given import days_of, tags_of
from edgelift.groups import add_group
from edgelift.output import ago, say, show_table


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    add_group(
        app, "token", "Tokens by which devices enrol: make, list, take back.",
        {"create": _create, "list": _list, "revoke": _revoke},
    )  # fmt: skip


def _create(
    uses: Annotated[
        int, typer.Option("--uses", min=1, max=1_000_000, help="How many devices may come by it.")
    ] = 1,
    expires: Annotated[str, typer.Option("--expires", help="For how long: 30m, 12h, 7d, 4w.")] = "1d",
    tags: Annotated[
        str,
        typer.Option(
            "--tags",
            help="What they get: site=hall-2,line=4.",
            show_default=False,
            autocompletion=names("tags"),
        ),
    ] = "",
    note: Annotated[str, typer.Option("--note", help="For people.", show_default=False)] = "",
    url: Annotated[
        str,
        typer.Option("--url", help="Where devices call [default: the server's own address].", show_default=False),
    ] = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token by which devices enrol. It is shown this once: hand it to whoever sets them up."""
    from msgspec.structs import replace

    from edgelift_contract.identity import dump_token, parse_token
    from edgelift_fleet.messages import TokenMade, TokenRequest

    wanted = TokenRequest(uses, days_of(expires), tags_of(tags), note)
    made = open_client(site).post("/v1/tokens", wanted, TokenMade)
    token = dump_token(replace(parse_token(made.token), url=url)) if url else made.token
    if as_json:
        print_json({"id": made.id, "token": token, "expires_at": made.expires_at})
        return
    devices = "1 device" if uses == 1 else f"{uses} devices"
    say(
        f"Token {made.id}, for {devices}, holds for {expires}. On the device: edgelift-agent enroll, and paste:",
        to_errors=True,
    )
    say(token)


def _list(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List tokens, without their secrets."""
    from edgelift_fleet.messages import TokenView

    found = open_client(site).get("/v1/tokens", list[TokenView])
    if as_json:
        print_json(found)
        return
    if not found:
        say("There are no tokens. Make one: edgelift token create.")
        return
    rows = [
        (
            one.id, one.state, f"{one.used} of {one.uses}", ago(one.made_at), _until(one.expires_at),
            ", ".join(f"{key}={value}" if value else key for key, value in one.tags.items()), one.note,
        )
        for one in found
    ]  # fmt: skip
    show_table(("token", "state", "used", "made", "expires", "tags", "note"), rows)


def _revoke(
    token: Annotated[str, typer.Argument(help="Its id, as token list shows it.")],
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a token back: nobody comes by it any more. Devices that came stay."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import TokenView

    found = open_client(site).delete(f"/v1/tokens/{segment(token)}", TokenView)
    if as_json:
        print_json(found)
    else:
        say(f"The token {found.id} was taken back; {found.used} of {found.uses} devices came by it.")


def _until(moment: float) -> str:
    left_s = moment - time.time()
    for size_s, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if left_s >= size_s:
            return f"in {left_s / size_s:.0f} {unit}"
    return "in a moment" if left_s > 0 else "over"
