"""`edgelift export`: what devices without a network are to run, signed, into a folder that is carried to them."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelift.common import JsonOption, SiteOption, open_client, print_json
from edgelift.completion import names
from edgelift.output import progress_bar, say
from edgelift.stick import Stick
from edgelift_contract.carried import DEFAULT_DAYS, MAX_DAYS
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_device_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgelift_fleet.client import Client
    from edgelift_fleet.messages import CarriedFile, Exported


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("export")(_export)


def _export(
    folder: Annotated[Path, typer.Argument(help="Where to write it, as the stick that is mounted there.")],
    device: Annotated[
        list[str],
        typer.Option("--device", "-d", help="A device's id; repeat for more.", autocompletion=names("devices")),
    ],
    days: Annotated[
        int, typer.Option("--days", min=1, max=MAX_DAYS, help="How long devices take it.")
    ] = DEFAULT_DAYS,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what devices without a network are to run to a folder, as a USB stick's; there: edgelift-agent import FOLDER."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import Exported, ExportRequest

    wanted = list(dict.fromkeys(check_device_id(one) for one in device))
    client, stick = open_client(site), Stick(folder)
    # What is wrong with one of them is found before anything is fetched.
    found = [client.ask(f"/v1/devices/{segment(one)}/export", ExportRequest(days), Exported) for one in wanted]
    files = {file.sha256: file for one in found for file in one.files}
    with progress_bar(quiet=as_json) as progress:
        fetched = _bring(client, stick, list(files.values()), progress)
    for one in found:
        stick.put_signed(one.device, _signed(one))
    if as_json:
        print_json({"devices": [_told(one) for one in found], "files": len(files), "fetched_bytes": fetched})
        return
    for one in found:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.expires_at))
        say(f"{one.device}: revision {one.revision}, good until {until}. On it: edgelift-agent import FOLDER")
    kept = sum(file.size_bytes for file in files.values()) - fetched
    say(
        f"{len(files)} files, {fetched} bytes fetched, {kept} bytes were there. Unmount the stick before it is pulled."
    )


def _bring(
    client: Client, stick: Stick, files: list[CarriedFile], progress: Callable[[str, int, int], None]
) -> int:
    """Fetch what the stick lacks; returns how many bytes."""
    missing: list[CarriedFile] = []
    total, done = sum(file.size_bytes for file in files), 0
    for file in files:
        progress("checking", done, total)
        if not stick.has_blob(file.sha256, file.size_bytes):
            missing.append(file)
        done += file.size_bytes
    total, done = sum(file.size_bytes for file in missing), 0
    stick.check_space(total)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("fetching", done, total)

    for file in missing:
        stick.put_blob(file.sha256, file.size_bytes, client.pieces(f"/v1/export/{file.sha256}"), advance)
    return total


def _signed(one: Exported) -> bytes:
    try:
        return base64.b64decode(one.signed, validate=True)
    except ValueError as error:
        raise ContractError("malformed", f"The server's answer is not understood: {error}.") from error


def _told(one: Exported) -> dict[str, Any]:
    return {"device": one.device, "revision": one.revision, "expires_at": one.expires_at}
