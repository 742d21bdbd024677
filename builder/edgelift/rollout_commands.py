"""`edgelift rollout …`: start a rollout, look at it, and steer it. They ask the site's running server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import (
    JsonOption,
    SiteOption,
    open_client,
    print_json,
)
from edgelift.completion import names
from edgelift.groups import add_group
from edgelift.output import ago, say, show_table
from edgelift.rollout_follow import follow, get_view
from edgelift.rollout_list import rollouts
from edgelift.rollout_preview import plan_line
from edgelift.rollout_progress import event_line, headline, look_lines

if TYPE_CHECKING:
    pass

RolloutArgument = Annotated[str, typer.Argument(help="The rollout's id, as r7.", autocompletion=names("rollouts"))]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, kept in the rollout's story.")]


def register(app: typer.Typer, start: Callable[..., None]) -> None:
    """Add this module's commands to `app`, and `start`, which stands in a module of its own."""
    add_group(app, "rollout", "Roll releases out in waves.", {"start": start, **_COMMANDS})


def _show(
    rollout: RolloutArgument,
    devices: Annotated[int, typer.Option("--devices", min=0, max=1000, help="Show at most so many devices.")] = 50,
    status: Annotated[
        str, typer.Option("--status", help="Only devices of this status, as failed, offline or updating.")
    ] = "",
    after: Annotated[str, typer.Option("--after", help="Only devices after this id: the next page.")] = "",
    events: Annotated[
        int, typer.Option("--events", min=0, help="Show at most so many events, the last ones.")
    ] = 30,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a rollout: how many devices stand how, some of them by name, and what happened."""
    found = get_view(open_client(site), rollout, status=status, limit=devices, after=after)
    if as_json:
        print_json(found)
        return
    say(headline(found))
    if line := ", ".join(filter(None, (plan_line(found.plan) if found.plan else "", plan_line(found.policy)))):
        say(f"  plan: {line}")
    say("  " + (", ".join(f"{number} {kind}" for kind, number in found.counts.items()) or "no device reached yet"))
    show_table(
        ("device", "wave", "status", "since", "before", "code", "message"),
        [
            (d.device, str(d.wave), d.status, ago(d.status_at), d.previous, d.code, d.message)
            for d in found.devices
        ],
    )
    if found.more:
        say(f"… and {found.more} more: see --devices, --status and --after.")
    for line in look_lines(found):
        say(line)
    if len(found.events) > events:
        say(f"  … {len(found.events) - events} earlier events: see --events.")
    for event in found.events[max(0, len(found.events) - events) :]:
        say(event_line(found, event.at, event.kind, event.text))


def _watch(rollout: RolloutArgument, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Show a rollout's progress until it has ended; exit 1 if it was rolled back or cancelled."""
    follow(lambda: open_client(site), rollout, as_json=as_json)


def _pause(
    rollout: RolloutArgument, why: WhyOption = "", site: SiteOption = None, as_json: JsonOption = False
) -> None:
    """Begin nothing more until resumed; what was assigned and not begun is taken back."""
    _command(rollout, "pause", site, as_json, why)


def _resume(
    rollout: RolloutArgument, why: WhyOption = "", site: SiteOption = None, as_json: JsonOption = False
) -> None:
    """Go on with a paused rollout."""
    _command(rollout, "resume", site, as_json, why)


def _approve(
    rollout: RolloutArgument,
    wave: Annotated[
        int, typer.Option(help="The wave that may begin, from 2, also before it waits; else the one that waits.")
    ] = 0,
    why: WhyOption = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the wave begin that waits for approval, of a rollout that asks for that."""
    _command(rollout, "approve", site, as_json, why, wave=wave)


def _cancel(
    rollout: RolloutArgument, why: WhyOption = "", site: SiteOption = None, as_json: JsonOption = False
) -> None:
    """End a rollout; devices keep what they have."""
    _command(rollout, "cancel", site, as_json, why)


def _rollback(
    rollout: RolloutArgument, why: WhyOption = "", site: SiteOption = None, as_json: JsonOption = False
) -> None:
    """Give every device that the rollout changed its previous version back, in whatever state the rollout is."""
    _command(rollout, "rollback", site, as_json, why)


def _let_go(
    rollout: RolloutArgument,
    devices: Annotated[
        list[str],
        typer.Argument(help="The devices to wait for no longer.", autocompletion=names("devices")),
    ],
    why: WhyOption = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait no longer for these devices: they count for nothing in the rollout any more, and keep what they have."""
    _command(rollout, "let-go", site, as_json, why, devices)


def _command(
    rollout: str,
    command: str,
    site: SiteOption,
    as_json: bool,
    why: str,
    devices: list[str] | None = None,
    wave: int = 0,
) -> None:
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import RolloutOrder, RolloutView

    order = RolloutOrder(why, devices or [], wave)
    found = open_client(site).post(f"/v1/rollouts/{segment(rollout)}/{command}", order, RolloutView)
    if as_json:
        print_json(found)
    else:
        say(headline(found))


_COMMANDS: dict[str, Callable[..., None]] = {
    "list": rollouts, "show": _show, "watch": _watch, "pause": _pause, "resume": _resume,
    "approve": _approve, "cancel": _cancel, "rollback": _rollback, "let-go": _let_go,
}  # fmt: skip
