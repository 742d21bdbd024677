"""The commands about devices: `devices`, `device`, `assign`, `tag`. They ask the site's running server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift import logs_commands
from edgelift.bundle_command import bundle
from edgelift.common import (
    DeviceArgument,
    JsonOption,
    MaxErrorRateOption,
    MaxLatencyRatioOption,
    MinRequestsOption,
    ProbationOption,
    ReleaseArgument,
    ShowGroup,
    SiteOption,
    ToOption,
    make_policy,
    open_client,
    print_json,
    selector,
)
from edgelift.completion import names
from edgelift.device_list import (
    devices,
    faults_in_words,
    runs_in_words,
    speakers,
    tags_in_words,
    update_in_words,
)
from edgelift.output import ago, say, show_table
from edgelift_contract.errors import CODES, ContractError
from edgelift_contract.ids import check_device_id

if TYPE_CHECKING:
    from edgelift_contract.assignment import Policy
    from edgelift_fleet.client import Client
    from edgelift_fleet.messages import DeviceDetail, IdentityEnded, IdentityView, Quantiles, SwapView


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    group = typer.Typer(invoke_without_command=True)
    group.callback()(devices)
    group.command("show")(_device)
    group.command("mend")(_mend)
    app.add_typer(group, name="devices")
    device = typer.Typer(
        cls=ShowGroup, help="Show one device, `edgelift device ID`; mend it, or fetch its logs.", no_args_is_help=True,
        rich_markup_mode=None,
    )  # fmt: skip
    device.command("show")(_device)
    device.command("mend")(_mend)
    device.command("replace")(_replace)
    device.command("remove")(_remove)
    device.command("bundle")(bundle)
    logs_commands.register(device)
    app.add_typer(device, name="device")
    app.command("assign")(_assign)
    app.command("tag")(_tag)


def _device(
    device: DeviceArgument,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one device: latency by version, swaps with what was before and after, history."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import DeviceDetail

    found = open_client(site).get(f"/v1/devices/{segment(device)}", DeviceDetail)
    if as_json:
        print_json(found)
    else:
        _show_device(found)


def _replace(device: DeviceArgument, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Let another board enrol in a device's place: what it was known by holds no more, from now on."""
    ended = _end_identity(device, "replace", site)
    if as_json:
        print_json(ended)
    else:
        say(f"{device}: {_certificates(ended.ended)} taken back. Enrol the new board: edgelift token create.")


def _remove(device: DeviceArgument, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Take a device out: what it is known by holds no more, its connections end, and it gets no other."""
    ended = _end_identity(device, "remove", site)
    if as_json:
        print_json(ended)
    else:
        say(
            f"{device}: {_certificates(ended.ended)} taken back. To let it in again: edgelift device replace {device}."
        )


def _end_identity(device: str, how: str, site: Path | None) -> IdentityEnded:
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import IdentityEnded

    return open_client(site).post(f"/v1/devices/{segment(device)}/{how}", {}, IdentityEnded)


def _certificates(number: int) -> str:
    return "1 certificate was" if number == 1 else f"{number} certificates were"


def _mend(
    device: DeviceArgument,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a device whole that is set apart: drop what can't be read of it, and have it say all afresh."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import MendReply

    done = open_client(site).post(f"/v1/devices/{segment(device)}/mend", {}, MendReply)
    if as_json:
        print_json(done)
        return
    dropped = f"dropped {', '.join(done.dropped)}" if done.dropped else "nothing was unreadable"
    assigned = f"its assignment is now revision {done.revision}" if done.revision else "nothing is assigned to it"
    say(f"{device}: {dropped}; {assigned}. It says all afresh with its next report.")
    if done.lost:
        say(f"{device}: what was assigned to {', '.join(done.lost)} is lost: assign it again, edgelift assign.")


def _identity(found: IdentityView) -> str:
    until = time.strftime("%Y-%m-%d", time.gmtime(found.not_after))
    words = {
        "valid": f"holds until {until}", "expired": f"ended on {until}; its agent renews it by itself",
        "removed": "was taken back: the device was removed", "replaced": "was taken back: another board may enrol",
    }  # fmt: skip
    text = f"certificate {found.serial[:16]}: {words.get(found.state, found.state)}; made {ago(found.issued_at)}"
    text += f" for {found.address or 'an unknown address'}" + (f" by token {found.token}" if found.token else "")
    text += "" if found.shown_at else "; it was never shown"
    if found.contested_at:
        text += (
            f". CONTESTED: {found.contested_by or 'an unknown address'} wanted to be it {ago(found.contested_at)}"
        )
    return text


def _show_device(found: DeviceDetail) -> None:
    device = found.device
    say(
        f"{device.device}: {'online' if device.online else 'offline'}, last seen {ago(device.last_seen)} by "
        f"{device.transport or 'http'}; {found.facts.board or device.hardware_class}, "
        f"agent {found.agent_version}; "
        f"tags: {tags_in_words(device.tags) or 'none'}; revision {device.revision_applied} of {device.revision} applied"
    )
    if device.duplicates:
        say(
            f"DUPLICATE: {len(device.duplicates)} devices speak as {device.device}, from {speakers(device)}: a cloned"
            " card, or one id given twice. What is shown is of the one that reported last. Give one another id."
        )
    for line in faults_in_words(device):
        say(line)
    for part in found.degraded:
        began = f", since {ago(part.since)} by its clock" if part.since else ""
        say(f"DEGRADED: {part.part}: {part.code}{began}. {part.message or CODES.get(part.code, '')}".rstrip())
    if found.degraded:
        say("It serves on. What each means: docs/degraded.md; what to do, on the board: edgelift-agent doctor.")
    if found.identity is not None:
        say(_identity(found.identity))
    if found.dropped:
        gone = ", ".join(f"{number} {what}" for what, number in found.dropped.items())
        say(f"More than is kept of one device: the oldest {gone} are gone.")
    show_table(
        ("slot", "state", "runs", "generation", "since", "last update"),
        [
            (s.slot, s.state, runs_in_words(s), str(s.generation), ago(s.since), update_in_words(s))
            for s in device.slots
        ],
    )
    show_table(
        ("version", "requests", "errors", "p50 µs", "p95 µs", "p99 µs", "windows", "last"),
        [
            (f"{v.model}@{v.version}", str(v.ok), str(v.errors), *_micro(v.total), str(v.windows), ago(v.end))
            for v in found.latency
        ],
        title="Latency by version",
    )
    show_table(
        ("when", "slot", "swap", "why", "mode", "commit µs", "dropped", "fetched", "p50 µs before → after"),
        [_swap(swap) for swap in found.swaps[:10]],
        title="Swaps",
    )
    show_table(
        ("when", "slot", "update", "outcome", "code", "message"),
        [
            (
                ago(h.last_at),
                h.slot,
                f"{h.update.model}@{h.update.version}",
                h.update.outcome,
                h.update.code,
                h.update.message,
            )
            for h in found.history[:10]
        ],
        title="Updates",
    )


def _micro(found: Quantiles) -> tuple[str, str, str]:
    return f"{found.p50_us:.0f}", f"{found.p95_us:.0f}", f"{found.p99_us:.0f}"


def _swap(swap: SwapView) -> tuple[str, ...]:
    before, after = (f"{q.p50_us:.0f}" if q else "–" for q in (swap.before, swap.after))
    way = f"{swap.version_from or 'nothing'} → {swap.version_to or 'nothing'}"
    fetched = f"{swap.fetched_bytes / 1e3:.0f} KB"
    return (
        ago(swap.at), swap.slot, way, swap.reason, swap.mode, f"{swap.commit_us:.1f}", str(swap.dropped), fetched,
        f"{before} → {after}",
    )  # fmt: skip


def _assign(
    release: ReleaseArgument,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", "-d", help="A device's id; repeat for more.", autocompletion=names("devices")),
    ] = None,
    to: ToOption = None,
    slot: Annotated[str, typer.Option("--slot", help="The slot [default: the model's name].")] = "",
    probation: ProbationOption = None,
    min_requests: MinRequestsOption = None,
    max_error_rate: MaxErrorRateOption = None,
    max_latency_ratio: MaxLatencyRatioOption = None,
    allow_older: Annotated[
        bool, typer.Option("--allow-older", help="Go back: the release may be older than one installed before.")
    ] = False,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have devices run a release, at once and without waves; exit 1 if one of them was refused it."""
    if bool(device) == bool(to):
        raise ContractError(
            "malformed", "It is not said which devices.", hint="Name them with --device, or select them with --to."
        )
    policy = make_policy(probation, min_requests, max_error_rate, max_latency_ratio, allow_older=allow_older)
    client = open_client(site)
    if device and len(device) == 1:
        _assign_one(client, release, device[0], slot, policy, as_json=as_json)
        return
    # Several are one call: what is wrong with one of them hinders no other, and is told with theirs.
    several = f"ids:{','.join(check_device_id(name) for name in device or ())}"
    _assign_to(client, release, to or several, slot, policy, as_json=as_json)


def _assign_one(client: Client, release: str, name: str, slot: str, policy: Policy, *, as_json: bool) -> None:
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import AssignReply, AssignRequest

    path = f"/v1/devices/{segment(name)}/assign"
    reply = client.post(path, AssignRequest(release, slot, policy), AssignReply)
    if as_json:
        print_json(reply)
    else:
        text = f"assigned {release}" if reply.changed else f"has {release} assigned already"
        say(f"{name}: {text} in slot {reply.slot!r} (revision {reply.revision}).")


def _assign_to(client: Client, release: str, to: str, slot: str, policy: Policy, *, as_json: bool) -> None:
    from edgelift_fleet.messages import AssignManyRequest, AssignOutcome

    request = AssignManyRequest(release, selector(to), slot, policy)
    found = client.post("/v1/assign", request, list[AssignOutcome])
    if as_json:
        print_json(found)
    else:
        by_outcome = {one.outcome: [o for o in found if o.outcome == one.outcome] for one in found}
        words = {"assigned": f"assigned {release}", "unchanged": f"has {release} assigned already"}
        say(f"{release}: {', '.join(f'{len(these)} {outcome}' for outcome, these in sorted(by_outcome.items()))}.")
        for one in found:
            say(f"{one.device}: {words.get(one.outcome) or f'refused: {one.message} ({one.code})'}")
    if any(one.outcome == "refused" for one in found):
        raise typer.Exit(1)


def _tag(
    device: DeviceArgument,
    tags: Annotated[
        list[str],
        typer.Argument(help="KEY or KEY=VALUE to set, KEY- to remove.", autocompletion=names("tags")),
    ],
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tag a device, so that rollouts can select it."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import TagsRequest

    # A dash ends a key that is to go; in a value it is a character like any other.
    gone = [text[:-1] for text in tags if text.endswith("-") and "=" not in text]
    kept = [text.partition("=") for text in tags if "=" in text or not text.endswith("-")]
    wanted = TagsRequest(set={key: value for key, _, value in kept}, remove=gone)
    if "" in wanted.set:
        raise ContractError("bad-id", "A tag needs a name.", hint="Write KEY or KEY=VALUE.")
    found = open_client(site).post(f"/v1/devices/{segment(device)}/tags", wanted, dict[str, str])
    if as_json:
        print_json(found)
    else:
        say(f"{device}: {tags_in_words(found) or 'no tags'}")
