"""The options of `edgelift rollout start` that say how a rollout is to go: a table, word of a plan → what typer reads.

Each is a word of a plan file (`plan_file.WORDS`) under its own name; left out, it is None, and the plan's default holds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from edgelift.common import MaxErrorRateOption, MaxLatencyRatioOption, MinRequestsOption, ProbationOption

Text = str | None

#: In the order in which `--help` shows them.
PLAN_OPTIONS: dict[str, Any] = {
    "waves": Annotated[
        Text,
        typer.Option("--waves", help="Cumulative counts or shares of the devices [default: 1,25%,100%]."),
    ],
    "slot": Annotated[Text, typer.Option("--slot", help="The slot [default: the model's name].")],
    "name": Annotated[Text, typer.Option("--name", help="A name for people.")],
    "comment": Annotated[Text, typer.Option("--comment", help="Why, for people.")],
    "seed": Annotated[
        int | None, typer.Option("--seed", min=0, help="Draw the devices as this seed does [default: a new one].")
    ],
    "soak": Annotated[
        Text, typer.Option("--soak", help="How long a wave must have served, as 10s or 1h [default: 0s].")
    ],
    "approval": Annotated[
        bool | None, typer.Option("--approval/--no-approval", help="Each wave after the first waits for a person.")
    ],
    "late_joiners": Annotated[
        Text,
        typer.Option(
            "--late-joiners", metavar="in|out", help="Devices that are selected only later [default: in]."
        ),
    ],
    "start_at": Annotated[
        Text,
        typer.Option("--start-at", help="Not before: '2026-11-28 22:00', with Z or +01:00, or +2h."),
    ],
    "windows": Annotated[
        list[str] | None,
        typer.Option(
            "--window", help="When devices may begin, by their own clocks: 'Mon-Fri 22:00-05:00'; repeat for more."
        ),
    ],
    "timezone": Annotated[
        Text, typer.Option("--timezone", help="Of devices that don't tell theirs [default: UTC].")
    ],
    "concurrency": Annotated[int | None, typer.Option("--concurrency", min=0, help="Devices under way at once.")],
    "rate": Annotated[float | None, typer.Option("--rate", min=0, help="Devices that begin in a minute.")],
    "bandwidth": Annotated[
        Text,
        typer.Option("--bandwidth", help="Bytes of artifacts asked for in a second over the fleet, as 2MB."),
    ],
    "max_failures": Annotated[
        Text,
        typer.Option("--max-failures", help="Failed devices that are tolerated, as 3 or 5% [default: 0]."),
    ],
    "max_offline": Annotated[
        Text,
        typer.Option("--max-offline", help="Devices that may be offline, as 3 or 5% [default: any number]."),
    ],
    "deadline": Annotated[
        Text,
        typer.Option("--deadline", help="How long a device may take before it counts as failed [default: 1h]."),
    ],
    "retries": Annotated[
        int | None,
        typer.Option(
            "--retries", min=0, max=10, help="How often a device that failed for a passing reason is asked again."
        ),
    ],
    "retry_after": Annotated[
        Text, typer.Option("--retry-after", help="Before the first such time [default: 1m].")
    ],
    "on_breach": Annotated[
        Text,
        typer.Option(
            "--on-breach", metavar="rollback|pause", help="What too many failures bring [default: rollback]."
        ),
    ],
    "keep_earlier": Annotated[
        bool | None,
        typer.Option(
            "--keep-earlier/--no-keep-earlier", help="When a wave goes back, waves before it keep the release."
        ),
    ],
    "gate_wait": Annotated[
        Text, typer.Option("--gate-wait", help="How long a wave waits for the requests of its gate [default: 1h].")
    ],
    "gate_unmeasured": Annotated[
        Text,
        typer.Option(
            "--gate-unmeasured",
            metavar="pause|advance",
            help="What follows where too few served by then [default: pause].",
        ),
    ],
    "probation": ProbationOption,
    "min_requests": MinRequestsOption,
    "max_error_rate": MaxErrorRateOption,
    "max_latency_ratio": MaxLatencyRatioOption,
    "allow_older": Annotated[
        bool | None,
        typer.Option(
            "--allow-older/--no-allow-older", help="Go back: devices may have run a newer release before."
        ),
    ],
}


def takes_plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Have typer see the table where `command` says `**given`; it gets all of them by name, None where left out."""
    signature = inspect.signature(command, eval_str=True)
    kinds = inspect.Parameter
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.kind is not kinds.VAR_KEYWORD:
            parameters.append(parameter)
            continue
        options = (kinds(n, kinds.KEYWORD_ONLY, default=None, annotation=a) for n, a in PLAN_OPTIONS.items())
        parameters += options
    made: Any = command
    made.__signature__ = signature.replace(parameters=parameters)
    return command
