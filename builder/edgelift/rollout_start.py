"""`edgelift rollout start`: a plan from options and a TOML file, told before it begins, then begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelift.common import (
    JsonOption,
    SiteOption,
    ToOption,
    open_client,
    print_json,
)
from edgelift.completion import names
from edgelift.output import say
from edgelift.plan_file import make_request, parse_words, read_plan_file
from edgelift.rollout_follow import follow
from edgelift.rollout_options import takes_plan_options
from edgelift.rollout_preview import preview_lines
from edgelift_contract.errors import ContractError

if TYPE_CHECKING:
    from edgelift_fleet.client import Client
    from edgelift_fleet.messages import RolloutPreview, RolloutRequest


@takes_plan_options
def start(
    release: Annotated[
        str | None, typer.Argument(help="model@version, as in digits@2.", autocompletion=names("releases"))
    ] = None,
    to: ToOption = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="A plan in TOML; options win over what it says.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and what is wrong; start nothing.")
    ] = False,
    words: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="WORD=VALUE", help="Any other word of a plan file; repeat for more."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Show progress until it has ended, or has paused by itself; exit 1 if not done."
        ),
    ] = False,
    site: SiteOption = None,
    as_json: JsonOption = False,
    **given: Any,
) -> None:
    """Start a rollout: wave by wave, each only after the last one served through its probation."""
    given |= {"release": release, "to": to}
    written = read_plan_file(plan) if plan else {}
    request = make_request(
        {
            **written,
            **parse_words(words or ()),
            **{word: value for word, value in given.items() if value not in (None, [])},
        }
    )
    if dry_run:
        _dry_run(open_client(site), request, as_json=as_json)
    else:
        _begin(lambda: open_client(site), request, wait=wait, as_json=as_json)


def _dry_run(client: Client, request: RolloutRequest, *, as_json: bool) -> None:
    found = _preview(client, request)
    if as_json:
        print_json(found)
        if found.refusals:
            raise typer.Exit(1)
        return
    _show(found)
    say(
        f"Nothing was started. To start it with this draw: the same with --seed {found.seed} and without --dry-run."
    )


def _begin(connect: Callable[[], Client], request: RolloutRequest, *, wait: bool, as_json: bool) -> None:
    import msgspec

    from edgelift_fleet.messages import RolloutView

    client = connect()
    if not as_json:
        found = _preview(client, request)
        _show(found)
        request = msgspec.structs.replace(request, seed=found.seed)
    made = client.post("/v1/rollouts", request, RolloutView)
    if wait:
        follow(connect, made.id, as_json=as_json, leave_paused=True)
    elif as_json:
        print_json(made)
    else:
        say(f"Started {made.id}. See: edgelift rollout watch {made.id}")


def _preview(client: Client, request: RolloutRequest) -> RolloutPreview:
    from edgelift_fleet.messages import RolloutPreview

    return client.post("/v1/rollouts/preview", request, RolloutPreview)


def _show(found: RolloutPreview) -> None:
    """The preview's lines; raises what the start would be refused with."""
    for line in preview_lines(found) if found.cohort else ():
        say(line)
    if found.refusals:
        first: Any = found.refusals[0]
        raise ContractError(first.code, first.error, hint=first.hint)
