"""The commands about alerts: `alert list`, `silence`, `unsilence`, `silences`, `receivers`, `test`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, SiteOption, ToOption, open_registry, print_json, seconds, selector
from edgelift.completion import names
from edgelift.groups import add_group
from edgelift.output import ago, moment, say, shortened, show_table
from edgelift_contract.errors import ContractError

if TYPE_CHECKING:
    from edgelift_fleet.messages import AlertView, SilenceView

#: Boards of one alert that a list names.
_NAMED = 10


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    add_group(
        app, "alert", "Alerts: what is wrong, who is told of it, and what is silenced.",
        {
            "list": _list, "silence": _silence, "unsilence": _unsilence, "silences": _silences, "receivers": _receivers,
            "test": _test,
        },
    )  # fmt: skip


def _list(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List the alerts that stand, the worst first: what, where, since when, what to do."""
    from edgelift_fleet.messages import AlertView

    with open_registry(site) as client:
        found = client.get("/v1/alerts", list[AlertView])
    if as_json:
        print_json(found)
    elif not found:
        say("No alert stands.")
    for one in [] if as_json else found:
        _show(one)


def _show(one: AlertView) -> None:
    hushed = f", {one.silenced:,} more silenced" if one.silenced else ""
    told = f"told {ago(one.told_at)}" if one.told_at else "not told yet"
    say(f"{one.severity} {one.code} ({'silenced' if one.state == 'silenced' else told}{hushed}): {one.what}")
    for subject in one.subjects[:_NAMED] if one.count > 1 else []:
        say(f"    {subject.name}, {ago(subject.since)}{': ' if subject.text else ''}{subject.text}")
    if one.count > _NAMED:
        say(f"    and {one.count - _NAMED:,} more")
    say(f"    Since {moment(one.since)} ({ago(one.since)}). {one.todo}")


def _silence(
    code: Annotated[str, typer.Argument(help="The alert's code, as alert list shows it.")],
    how_long: Annotated[str, typer.Option("--for", help="For how long: 30m, 2h, 7d.")],
    to: ToOption = None,
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            help="Only of this device; may be repeated.",
            show_default=False,
            autocompletion=names("devices"),
        ),
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option(
            "--tags",
            help="Only of devices with this tag, KEY or KEY=VALUE; may be repeated.",
            show_default=False,
            autocompletion=names("tags"),
        ),
    ] = None,
    rollout: Annotated[
        str,
        typer.Option(
            "--rollout", help="Only of this rollout, as r7.", show_default=False, autocompletion=names("rollouts")
        ),
    ] = "",
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, kept with it.")] = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell nobody of an alert for a while. It is listed all the same."""
    from edgelift_fleet.messages import SilenceRequest, SilenceView

    wanted = SilenceRequest(code, seconds(how_long), _selector(to, devices or [], tags or []), rollout, why)
    with open_registry(site) as client:
        made = client.post("/v1/alerts/silences", wanted, SilenceView)
    if as_json:
        print_json(made)
    else:
        say(f"Silence {made.id}: nobody is told of {made.code}{_of(made)} until {moment(made.until)}.")


def _selector(to: str | None, devices: list[str], tags: list[str]) -> str:
    """One selector of all that was said. Raises ContractError `malformed` where two ways were."""
    ways = [selector(to) if to else "", f"ids:{','.join(devices)}" if devices else ""]
    ways.append(" and ".join(f"tag:{tag}" for tag in tags))
    said = [way for way in ways if way]
    if len(said) > 1:
        raise ContractError(
            "malformed", "The devices are named in two ways.", hint="Use one of --to, --device and --tags."
        )
    return said[0] if said else ""


def _of(one: SilenceView) -> str:
    return f" of {one.rollout or shortened(one.to)}" if one.rollout or one.to else ""


def _unsilence(
    silence: Annotated[str, typer.Argument(help="Its id, as alert silences shows it.")],
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a silence before its time."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import SilenceView

    with open_registry(site) as client:
        found = client.delete(f"/v1/alerts/silences/{segment(silence)}", SilenceView)
    if as_json:
        print_json(found)
    else:
        say(f"The silence {found.id} is {'over' if found.state == 'over' else 'ended'}.")


def _silences(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List the silences of the last 30 days, the newest first."""
    from edgelift_fleet.messages import SilenceView

    with open_registry(site) as client:
        found = client.get("/v1/alerts/silences", list[SilenceView])
    if as_json:
        print_json(found)
    elif not found:
        say("Nothing is silenced.")
    else:
        rows = [
            (
                one.id,
                one.state,
                one.code,
                shortened(one.rollout or one.to or "all"),
                moment(one.until),
                one.made_by,
                one.why,
            )
            for one in found
        ]
        show_table(("silence", "state", "alert", "of", "until", "by", "why"), rows)


def _receivers(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List who is told of alerts, and what waits for each."""
    from edgelift_fleet.messages import ReceiverView

    with open_registry(site) as client:
        found = client.get("/v1/alerts/receivers", list[ReceiverView])
    if as_json:
        print_json(found)
    elif not found:
        say("Nobody is told of alerts. Name receivers in site.toml: docs/alerts.md.")
    else:
        rows = [
            (
                one.name,
                one.kind,
                one.where,
                ", ".join(one.codes) or "all",
                str(one.waiting),
                str(one.given_up),
                one.error,
            )
            for one in found
        ]
        show_table(("receiver", "kind", "where", "alerts", "waiting", "given up", "last error"), rows)


def _test(
    receiver: Annotated[str, typer.Argument(help="Its name in site.toml.")],
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a real message to a receiver, now, and say what it answered. Exit code 1 where it did not take it."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import ReceiverAnswer

    with open_registry(site) as client:
        found = client.post(f"/v1/alerts/receivers/{segment(receiver)}/test", {}, ReceiverAnswer)
    if as_json:
        print_json(found)
    else:
        say(f"The receiver {found.receiver} {'took it' if found.taken else 'did not take it'}: {found.said}")
    if not found.taken:
        raise typer.Exit(1)
