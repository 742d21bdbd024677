"""`edgelift rollout start`: a plan from options and a TOML file, told before it begins, then begun."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelift.common import (
    JsonOption,
    MaxErrorRateOption,
    MaxLatencyRatioOption,
    MinRequestsOption,
    ProbationOption,
    SiteOption,
    ToOption,
    open_client,
    print_json,
)
from edgelift.completion import names
from edgelift.output import say
from edgelift.plan_file import make_request, parse_words, read_plan_file
from edgelift.rollout_commands import follow
from edgelift.rollout_preview import preview_lines
from edgelift_contract.errors import ContractError

if TYPE_CHECKING:
    from edgelift_fleet.client import Client
    from edgelift_fleet.messages import RolloutPreview, RolloutRequest

Text = str | None


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
    waves: Annotated[
        Text,
        typer.Option("--waves", help="Cumulative counts or shares of the devices [default: 1,25%,100%]."),
    ] = None,
    slot: Annotated[Text, typer.Option("--slot", help="The slot [default: the model's name].")] = None,
    name: Annotated[Text, typer.Option("--name", help="A name for people.")] = None,
    comment: Annotated[Text, typer.Option("--comment", help="Why, for people.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Draw the devices as this seed does [default: a new one].")
    ] = None,
    soak: Annotated[
        Text, typer.Option("--soak", help="How long a wave must have served, as 10s or 1h [default: 0s].")
    ] = None,
    approval: Annotated[
        bool | None, typer.Option("--approval/--no-approval", help="Each wave after the first waits for a person.")
    ] = None,
    late_joiners: Annotated[
        Text,
        typer.Option(
            "--late-joiners", metavar="in|out", help="Devices that are selected only later [default: in]."
        ),
    ] = None,
    start_at: Annotated[
        Text,
        typer.Option("--start-at", help="Not before: '2026-11-28 22:00', with Z or +01:00, or +2h."),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            "--window", help="When devices may begin, by their own clocks: 'Mon-Fri 22:00-05:00'; repeat for more."
        ),
    ] = None,
    timezone: Annotated[
        Text, typer.Option("--timezone", help="Of devices that don't tell theirs [default: UTC].")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=0, help="Devices under way at once.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0, help="Devices that begin in a minute.")] = None,
    bandwidth: Annotated[
        Text,
        typer.Option("--bandwidth", help="Bytes of artifacts asked for in a second over the fleet, as 2MB."),
    ] = None,
    max_failures: Annotated[
        Text,
        typer.Option("--max-failures", help="Failed devices that are tolerated, as 3 or 5% [default: 0]."),
    ] = None,
    max_offline: Annotated[
        Text,
        typer.Option("--max-offline", help="Devices that may be offline, as 3 or 5% [default: any number]."),
    ] = None,
    deadline: Annotated[
        Text,
        typer.Option("--deadline", help="How long a device may take before it counts as failed [default: 1h]."),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            "--retries", min=0, max=10, help="How often a device that failed for a passing reason is asked again."
        ),
    ] = None,
    retry_after: Annotated[
        Text, typer.Option("--retry-after", help="Before the first such time [default: 1m].")
    ] = None,
    on_breach: Annotated[
        Text,
        typer.Option(
            "--on-breach", metavar="rollback|pause", help="What too many failures bring [default: rollback]."
        ),
    ] = None,
    keep_earlier: Annotated[
        bool | None,
        typer.Option(
            "--keep-earlier/--no-keep-earlier", help="When a wave goes back, waves before it keep the release."
        ),
    ] = None,
    probation: ProbationOption = None,
    min_requests: MinRequestsOption = None,
    max_error_rate: MaxErrorRateOption = None,
    max_latency_ratio: MaxLatencyRatioOption = None,
    allow_older: Annotated[
        bool | None,
        typer.Option(
            "--allow-older/--no-allow-older", help="Go back: devices may have run a newer release before."
        ),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="WORD=VALUE", help="Any other word of a plan file; repeat for more."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show progress until it has ended; exit 1 if not done.")
    ] = False,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a rollout: wave by wave, each only after the last one served through its probation."""
    given = {
        "release": release, "to": to, "waves": waves, "slot": slot, "name": name, "comment": comment, "seed": seed,
        "soak": soak, "approval": approval, "late_joiners": late_joiners, "start_at": start_at, "windows": window or None,
        "timezone": timezone, "concurrency": concurrency, "rate": rate, "bandwidth": bandwidth,
        "max_failures": max_failures, "max_offline": max_offline, "deadline": deadline, "retries": retries,
        "retry_after": retry_after, "on_breach": on_breach, "keep_earlier": keep_earlier, "probation": probation,
        "min_requests": min_requests, "max_error_rate": max_error_rate, "max_latency_ratio": max_latency_ratio,
        "allow_older": allow_older,
    }  # fmt: skip
    written = read_plan_file(plan) if plan else {}
    request = make_request(
        {
            **written,
            **parse_words(words or ()),
            **{word: value for word, value in given.items() if value is not None},
        }
    )
    client = open_client(site)
    if dry_run:
        _dry_run(client, request, as_json=as_json)
    else:
        _begin(client, request, wait=wait, as_json=as_json)


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


def _begin(client: Client, request: RolloutRequest, *, wait: bool, as_json: bool) -> None:
    import msgspec

    from edgelift_fleet.messages import RolloutView

    if not as_json:
        found = _preview(client, request)
        _show(found)
        request = msgspec.structs.replace(request, seed=found.seed)
    made = client.post("/v1/rollouts", request, RolloutView)
    if wait:
        follow(client, made.id, as_json=as_json)
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
