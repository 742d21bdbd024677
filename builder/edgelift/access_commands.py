"""The commands about access tokens, by which programs speak to the API: `access create`, `access list`, `access revoke`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgelift.common import JsonOption, SiteOption, check_role, open_registry, print_json, seconds
from edgelift.groups import add_group
from edgelift.output import ago, moment, say, show_table


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    add_group(
        app, "access", "Access tokens for programs: make, list, take back.",
        {"create": _create, "list": _list, "revoke": _revoke},
    )  # fmt: skip


def _create(
    role: Annotated[str, typer.Option("--role", help="viewer: reads; operator: changes too; admin: everything.")],
    expires: Annotated[str, typer.Option("--expires", help="For how long: 12h, 90d.")] = "90d",
    note: Annotated[str, typer.Option("--note", help="For people.", show_default=False)] = "",
    person: Annotated[
        str, typer.Option("--person", help="Whose it is: it ends with them.", show_default=False)
    ] = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an access token. It is shown this once: keep it in a file that others can't read, and name that."""
    from edgelift_fleet.messages import AccessMade, AccessRequest

    check_role(role)
    wanted = AccessRequest(role, seconds(expires) / 86400, note, person)  # type: ignore[arg-type]  # it is one of them
    with open_registry(site) as client:
        made = client.post("/v1/access-tokens", wanted, AccessMade)
    if as_json:
        print_json(made)
        return
    say(f"Access token {made.id}, {made.role}, holds until {moment(made.expires_at)}:", to_errors=True)
    say(made.token)


def _list(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List access tokens, without their secrets; not those of people's logins."""
    from edgelift_fleet.messages import AccessView

    with open_registry(site) as client:
        found = client.get("/v1/access-tokens", list[AccessView])
    if as_json:
        print_json(found)
    elif not found:
        say("There are no access tokens. Make one: edgelift access create --role ROLE.")
    else:
        rows = [
            (
                one.id, one.state, one.role, one.person, one.made_by, ago(one.made_at), moment(one.expires_at),
                ago(one.used_at), one.note,
            )
            for one in found
        ]  # fmt: skip
        columns = ("token", "state", "role", "whose", "made by", "made", "expires", "last used", "note")
        show_table(columns, rows)


def _revoke(
    token: Annotated[str, typer.Argument(help="Its id, as access list shows it.")],
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an access token back: nobody comes in by it any more, within 5 s everywhere."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import AccessView

    with open_registry(site) as client:
        found = client.delete(f"/v1/access-tokens/{segment(token)}", AccessView)
    if as_json:
        print_json(found)
    else:
        say(f"The access token {found.id} was taken back.")
