"""The commands about telemetry: `latency`, `gauges`, `telemetry export`, `telemetry sample`."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlencode

import typer

from edgelift.common import DeviceArgument, JsonOption, SiteOption, open_client, print_json, seconds
from edgelift.completion import names
from edgelift.groups import add_group
from edgelift.output import ago, say, show_table
from edgelift.telemetry_export import write_export
from edgelift_contract.errors import ContractError

if TYPE_CHECKING:
    from edgelift_fleet.messages import GaugeStep, GaugeValue, LatencyGroup, LatencyStep, Quantiles

FromOption = Annotated[
    str, typer.Option("--from", help="Begin: 24h (ago), or 2026-11-26 or 2026-11-26T13:00 in this machine's time.")
]
ToOption = Annotated[str, typer.Option("--to", help="End, written like --from [default: now].")]

#: What stands first in a table of gauges; the rest follow by name.
_FIRST = ("soc_temp_c", "throttled", "cpu_pct", "memory_used_bytes", "memory_available_bytes", "disk_free_bytes")


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("latency")(_latency)
    app.command("gauges")(_gauges)
    add_group(app, "telemetry", "Telemetry: take it out, sample a device.", {"export": _export, "sample": _sample})


def when(text: str, now: float) -> float:
    """A time as a person writes it, in seconds since 1970: so long ago, or a date, with or without a time of day.

    Raises:
        ContractError: `malformed`.
    """
    if not text:
        return now
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return max(0.0, now - seconds(text))
    except ContractError:
        raise ContractError(
            "malformed", f"{text!r} is no time.", hint="Write 24h (ago), 2026-11-26 or 2026-11-26T13:00."
        ) from None


def _latency(
    model: Annotated[str, typer.Option("--model", help="Of this model.", autocompletion=names("models"))] = "",
    version: Annotated[str, typer.Option("--version", help="Of this version.")] = "",
    hardware_class: Annotated[
        str, typer.Option("--class", help="On boards of this hardware class.", autocompletion=names("classes"))
    ] = "",
    device: Annotated[
        str, typer.Option("--device", "-d", help="On this device.", autocompletion=names("devices"))
    ] = "",
    tag: Annotated[
        str,
        typer.Option("--tag", help="On devices with this tag, as KEY or KEY=VALUE.", autocompletion=names("tags")),
    ] = "",
    phase: Annotated[str, typer.Option("--phase", help="Of total,infer,queue,decode,encode.")] = "total,infer",
    begin: FromOption = "24h",
    end: ToOption = "",
    step: Annotated[str, typer.Option("--step", help="Also in equal steps, as 1h or 1d.")] = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Latency over any time, by version, hardware class and throttling: quantiles of all requests together."""
    from edgelift_fleet.messages import LatencyReply

    now = time.time()
    asked = {
        "model": model, "version": version, "class": hardware_class, "device": device, "tag": tag, "phase": phase,
        "from": when(begin, now), "to": when(end, now), "step": seconds(step) if step else 0,
    }  # fmt: skip
    found = open_client(site).get(f"/v1/latency?{urlencode(asked)}", LatencyReply)
    if as_json:
        print_json(found)
        return
    if not found.groups:
        say(f"No windows from {_moment(found.start)} to {_moment(found.end)} that fit.")
        return
    phases = [name.strip() for name in phase.split(",") if name.strip()]
    heads = [f"{name} {q}" for name in phases for q in ("p50", "p95", "p99 µs")]
    show_table(
        ("slot", "version", "class", "throttled", "requests", "errors", *heads, "windows", "last"),
        [_latency_row(group, phases) for group in found.groups],
        title=f"Latency from {_moment(found.start)} to {_moment(found.end)}",
    )
    for group in found.groups:
        show_table(
            ("from", "requests", "errors", *heads),
            [(_moment(one.start), str(one.ok), str(one.errors), *_cells(one, phases)) for one in group.steps],
            title=f"{group.model}@{group.version} · {group.hardware_class}{' · throttled' if group.throttled else ''}",
        )


def _latency_row(group: LatencyGroup, phases: list[str]) -> tuple[str, ...]:
    throttled = "yes" if group.throttled else "no"
    return (
        group.slot, f"{group.model}@{group.version}", group.hardware_class, throttled, str(group.ok),
        str(group.errors), *_cells(group, phases), str(group.windows), ago(group.end),
    )  # fmt: skip


def _cells(one: LatencyGroup | LatencyStep, phases: list[str]) -> list[str]:
    return [cell for name in phases for cell in _three(one.phases.get(name))]


def _three(found: Quantiles | None) -> tuple[str, str, str]:
    if found is None:
        return "–", "–", "–"
    return f"{found.p50_us:.0f}", f"{found.p95_us:.0f}", f"{found.p99_us:.0f}"


def _moment(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    except (ValueError, OverflowError):
        return f"{at:.0f}"


def _gauges(
    device: Annotated[
        str,
        typer.Argument(
            help="The device's id; without one the newest values of all.", autocompletion=names("devices")
        ),
    ] = "",
    begin: FromOption = "24h",
    end: ToOption = "",
    step: Annotated[str, typer.Option("--step", help="Length of a step, as 5m or 1h.")] = "1h",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Temperature, throttling, memory, disk: the newest values of all devices, or one's over time (least, mean, most)."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import DeviceGauges, GaugeStep

    client = open_client(site)
    if not device:
        newest = client.get("/v1/gauges", list[DeviceGauges])
        if as_json:
            print_json(newest)
            return
        names = _columns({name for one in newest for name in one.values})
        rows = [
            (d.device, ago(d.at), *(_number(d.values[n]) if n in d.values else "" for n in names)) for d in newest
        ]
        show_table(("device", "when", *names), rows)
        return
    now = time.time()
    asked = {"from": when(begin, now), "to": when(end, now), "step": seconds(step)}
    found = client.get(f"/v1/devices/{segment(device)}/gauges?{urlencode(asked)}", list[GaugeStep])
    if as_json:
        print_json(found)
        return
    names = _columns({name for one in found for name in one.values})
    show_table(("from", *names), [(_moment(one.start), *_spans(one, names)) for one in found])


def _columns(names: set[str]) -> list[str]:
    """At most ten: the ones that matter most, and then by name."""
    return [*(n for n in _FIRST if n in names), *sorted(names - set(_FIRST))][:10]


def _spans(step: GaugeStep, names: list[str]) -> list[str]:
    return [_span(step.values[name]) if name in step.values else "" for name in names]


def _span(value: GaugeValue) -> str:
    least, mean, most = (_number(v) for v in (value.min, value.mean, value.max))
    return mean if least == most else f"{least} / {mean} / {most}"


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value / 1e6:.4g}M"


def _export(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to; must not be there yet.")],
    what: Annotated[
        Literal["windows", "gauges", "swaps", "events"], typer.Option("--what", help="Which kind.")
    ] = "windows",
    form: Annotated[
        Literal["jsonl", "parquet"], typer.Option("--format", help="Parquet needs the extra [parquet].")
    ] = "jsonl",
    resolution: Annotated[
        Literal["minute", "hour", "day"],
        typer.Option("--resolution", help="Windows and gauges as they came, or sums of an hour or a day."),
    ] = "minute",
    device: Annotated[
        str, typer.Option("--device", "-d", help="Of this device.", autocompletion=names("devices"))
    ] = "",
    begin: FromOption = "24h",
    end: ToOption = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write telemetry to a file, as JSON lines or Parquet."""
    now = time.time()
    asked = {
        "what": what, "device": device, "from": when(begin, now), "to": when(end, now), "resolution": resolution,
    }  # fmt: skip
    lines = open_client(site).lines(f"/v1/telemetry?{urlencode(asked)}")
    number = write_export(lines, out, what=what, form=form)
    size_bytes = out.stat().st_size
    if as_json:
        print_json({"file": str(out), "what": what, "written": number, "size_bytes": size_bytes})
    else:
        say(f"Wrote {number} {what} to {out} ({size_bytes / 1e6:.2f} MB).")


def _sample(
    device: DeviceArgument,
    length: Annotated[str, typer.Option("--for", help="For how long from now on, as 2h.")] = "2h",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep what a device sends from now on at full resolution: its windows and gauges one by one, as long as sums."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import MAX_SAMPLE_S, SampleReply, SampleRequest

    for_s = seconds(length)
    if not 0 < for_s <= MAX_SAMPLE_S:  # the server only says which number of the request is out of bounds
        most = f"{MAX_SAMPLE_S / 86400:.0f} days"
        raise ContractError("malformed", f"A device can be sampled for up to {most}, not for {length}.")
    path = f"/v1/devices/{segment(device)}/sample"
    found = open_client(site).post(path, SampleRequest(for_s), SampleReply)
    if as_json:
        print_json(found)
    else:
        say(f"{device}: what it sends until {_moment(found.until)} is kept at full resolution.")
