"""`edgelift device logs`: a board's logs and what its doctor finds, asked for, waited for, written to a file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import DeviceArgument, JsonOption, SiteOption, open_client, print_json, seconds
from edgelift.output import ago, say, show_table
from edgelift_contract.errors import ContractError, DeviceError, TransportError, disk_code

if TYPE_CHECKING:
    from edgelift_fleet.client import Client
    from edgelift_fleet.messages import BundleView

#: How often is looked whether the bundle has come, and how often said that it has not, seconds.
_LOOK_S, _SAY_S = 0.5, 30.0


def register(device: typer.Typer) -> None:
    """Add this module's commands to the group `edgelift device`."""
    device.command("logs")(_logs)


def _logs(
    device: DeviceArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it [default: ID-….tar.gz here].")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="Kept with it, beside who asked and when.")] = "",
    wait: Annotated[
        str, typer.Option("--wait", help="How long to wait for it here; the wish itself stays, see --expires.")
    ] = "10m",
    expires: Annotated[
        str, typer.Option("--expires", help="How long the wish waits for a device that is away.")
    ] = "1d",
    list_them: Annotated[
        bool, typer.Option("--list", help="List what was asked for, and ask for nothing.")
    ] = False,
    bundle: Annotated[str, typer.Option("--bundle", help="Fetch this one again, and ask for nothing.")] = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a device for its logs and what its doctor finds, and write them to a file, a gzipped tar."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import BundleRequest, BundleView

    client, path = open_client(site), f"/v1/devices/{segment(device)}/bundles"
    if list_them:
        _list(client.get(path, list[BundleView]), as_json=as_json)
        return
    patience_s = seconds(wait)
    if bundle:
        found = client.get(f"{path}/{segment(bundle)}", BundleView)
    else:
        found = client.post(path, BundleRequest(why, seconds(expires)), BundleView)
        if found.state == "waiting":
            found = _wait_for(client, path, found, patience_s)
    _write(client, f"{path}/{segment(found.id)}/file", found, out, as_json=as_json)


def _wait_for(client: Client, path: str, asked: BundleView, patience_s: float) -> BundleView:
    """The bundle once it has come, or whatever else became of the wish.

    Raises:
        TransportError: `timed-out`; the wish stays.
    """
    from edgelift_fleet.messages import BundleView, DeviceDetail

    began, said = time.monotonic(), -_SAY_S
    while True:
        found = client.get(f"{path}/{asked.id}", BundleView)
        passed_s = time.monotonic() - began
        if found.state != "waiting":
            return found
        if passed_s - said >= _SAY_S or passed_s >= patience_s:
            said = passed_s
            device = client.get(path.removesuffix("/bundles"), DeviceDetail).device
            state = "online" if device.online else f"offline, last seen {ago(device.last_seen)}"
            if passed_s >= patience_s:
                raise TransportError(
                    "timed-out",
                    f"{asked.device} has not brought its bundle within {patience_s:.0f} s; it is {state}.",
                    hint=f"It is still asked for, and is here once it came: edgelift device logs {asked.device} --list.",
                )
            say(f"{asked.device} is {state}: waiting for its bundle, {passed_s:.0f} s so far.", to_errors=True)
        time.sleep(_LOOK_S)


def _write(client: Client, path: str, found: BundleView, out: Path | None, *, as_json: bool) -> None:
    if found.state != "brought":
        why = f": {found.message}" if found.message else ""
        raise ContractError(
            "not-found", f"The bundle of {found.device} is {found.state}{why}", hint="Ask once more."
        )
    data = client.data(path)
    target = out or Path(f"{found.device}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(found.ended_at))}.tar.gz")
    _put(target, data)
    if as_json:
        print_json({"file": str(target), "bundle": found})
    else:
        say(f"{found.device}: {len(data)} bytes in {target}; look inside with: tar tzf {target}")


def _put(target: Path, data: bytes) -> None:
    """Write a file for its owner alone, whole or not at all.

    Raises:
        DeviceError: why it can't be written.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DeviceError(disk_code(error.errno), f"{target} can't be written: {error.strerror}.") from error


def _list(found: list[BundleView], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    show_table(
        ("bundle", "state", "asked", "by", "why", "bytes", "here"),
        [
            (
                one.id,
                f"{one.state}: {one.message}" if one.message else one.state,
                ago(one.asked_at),
                one.asked_by,
                one.why,
                str(one.size_bytes) if one.size_bytes else "",
                "yes" if one.kept else "no",
            )
            for one in found
        ],
    )
