"""`edgelift device bundle`: one file by which a board gets the agent and enrols; nothing is fetched there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, SiteOption, open_client, print_json
from edgelift.completion import names
from edgelift.given import days_of, tags_of
from edgelift.output import progress_bar, say
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.ids import check_device_id

if TYPE_CHECKING:
    from edgelift_builder.targets import Target


def bundle(
    target: Annotated[str, typer.Option("--target", "-t", help="The board, as rpi4; see edgelift targets.")],
    device: Annotated[
        str,
        typer.Option(
            "--device",
            "-d",
            help="The board's id [default: its host name].",
            show_default=False,
            autocompletion=names("devices"),
        ),
    ] = "",
    count: Annotated[
        int, typer.Option("--count", min=1, max=1_000_000, help="How many boards are set up by this one file.")
    ] = 1,
    python: Annotated[
        str,
        typer.Option("--python", help="Python on the board [default: its usual system's].", show_default=False),
    ] = "",
    expires: Annotated[
        str, typer.Option("--expires", help="How long boards may enrol by it: 12h, 7d, 4w.")
    ] = "7d",
    tags: Annotated[
        str,
        typer.Option(
            "--tags", help="What they get: site=hall-2,line=4.", show_default=False, autocompletion=names("tags")
        ),
    ] = "",
    url: Annotated[
        str,
        typer.Option("--url", help="Where boards call [default: the server's own address].", show_default=False),
    ] = "",
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels",
            help="Take the packages from this folder.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    index_url: Annotated[
        str,
        typer.Option(
            "--index-url", help="Take them from this package index [default: pip's].", show_default=False
        ),
    ] = "",
    agent: Annotated[
        Path | None,
        typer.Option(
            "--agent",
            help="A wheel of the agent [default: the one installed here].",
            exists=True,
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder or file to write.")] = Path(),
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one file that installs the agent on a board, upgrades it, and enrols it: nothing is fetched there."""
    from msgspec.structs import replace

    from edgelift.boards.bundle import BundleWanted, make_bundle
    from edgelift_builder.targets import load_target
    from edgelift_contract.identity import EnrolToken, parse_token
    from edgelift_fleet.messages import TokenMade, TokenRequest

    board = load_target(target)
    version = python_of(board, python)
    if device and count > 1:
        raise ContractError(
            "conflict", "--device names one board, --count several: each of those is named by its host name."
        )
    named, given = check_device_id(device) if device else "", tags_of(tags)
    wanted = TokenRequest(count, days_of(expires), given, f"bundle for {named or f'{count} × {board.name}'}")
    client, made = open_client(site), []

    def enrolment() -> EnrolToken:
        made.append(client.post("/v1/tokens", wanted, TokenMade))
        token = parse_token(made[0].token)
        return replace(token, url=url) if url else token

    asked = BundleWanted(
        target=board.name, machine=machine_of(board), python=version, device=named, tags=given, wheels=wheels,
        index_url=index_url, agent=agent,
    )  # fmt: skip
    with progress_bar(quiet=as_json) as progress:
        written = make_bundle(asked, out, enrolment, progress)
    if as_json:
        print_json(
            {"bundle": written, "target": board.name, "python": version, "device": named, "token": made[0].id}
        )
        return
    say(f"{written.path}: {written.size_bytes / 1e6:.1f} MB, {written.packages} packages for Python {version}")
    boards = f"{count} boards" if count > 1 else "one board"
    say(
        f"It holds a token for {boards}, good for {expires}: keep it to yourself (edgelift token revoke {made[0].id})"
    )
    folder = Path(written.path).name.removesuffix(".tar.gz")
    say(f"On the board: tar xzf {Path(written.path).name} && sudo {folder}/install.sh")


def python_of(board: Target, asked: str) -> str:
    """The Python that a bundle is for.

    Raises:
        DeviceError: `unsupported-platform` for a board whose systems have none that the agent runs on.
    """
    if asked:
        return asked
    if not board.pythons:
        raise DeviceError(
            "unsupported-platform", f"{board.title}: {board.sources['pythons']}.",
            hint="docs/boards says how; where the board has a newer Python, name it: --python 3.10.",
        )  # fmt: skip
    return board.pythons[0]


def machine_of(board: Target) -> str:
    """Its processor as `uname -m` says it."""
    return "x86_64" if board.hardware_class.startswith("x86-64") else "aarch64"
