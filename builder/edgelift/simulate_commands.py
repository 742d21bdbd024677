"""`edgelift simulate`: a fleet of simulated boards against a running control plane."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, SiteOption, open_client, open_site, print_json, seconds
from edgelift.output import say
from edgelift.reach import read_token, whereabouts
from edgelift_contract.errors import TransportError

if TYPE_CHECKING:
    from edgelift_fleet.simulate.engine import Simulation
    from edgelift_fleet.simulate.http import Address
    from edgelift_fleet.site import Site

#: How long a token for simulated boards holds, seconds; and how much longer for each of them, as they come one after
#: the other: a control plane enrols some 20 a second.
_TOKEN_S, _ENROLMENT_S = 600.0, 0.1


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("simulate")(_simulate)


def _simulate(
    devices: Annotated[int, typer.Option("--devices", "-n", min=1, max=100_000, help="How many boards.")] = 100,
    profile: Annotated[
        Path, typer.Option("--profile", help="What boards they are: a TOML file, or a shipped one: barn, plain.")
    ] = Path("plain"),
    url: Annotated[str, typer.Option("--url", help="The control plane [default: the site's own].")] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Holds an enrolment token [default: one is made for them].")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            show_default=False,
            help="Where the boards' certificates are kept, so that the same boards can come again [default: in the site].",
        ),
    ] = None,
    lasts: Annotated[str, typer.Option("--for", help="End after this time, as 10m [default: at Ctrl-C].")] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of everything that is drawn.")] = 0,
    prefix: Annotated[str, typer.Option("--prefix", help="Of the boards' ids, as in sim-00001.")] = "sim",
    every: Annotated[str, typer.Option("--every", help="How often a line tells how it goes.")] = "5s",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate boards: agents' side of the contract over real HTTP and MQTT, and no runtime; see docs/simulate.md."""
    from edgelift_contract.ids import check_device_id
    from edgelift_fleet.garbage import collect_rarely
    from edgelift_fleet.simulate.counts import refuse_kept_out
    from edgelift_fleet.simulate.engine import Simulation
    from edgelift_fleet.simulate.profile import load_profile

    check_device_id(f"{prefix}-{devices:05d}")
    loaded = load_profile(profile)
    lasts_s, every_s = seconds(lasts) if lasts else None, max(0.1, seconds(every))
    with _address(url, token_file, keep, site, devices) as address:
        simulation = Simulation(address, loaded, devices, seed=seed, prefix=prefix)
        collect_rarely()
        asyncio.run(_live(simulation, lasts_s, every_s, quiet=as_json))
    if as_json:
        print_json(simulation.outcome())
    refuse_kept_out(simulation.outcome())


@contextmanager
def _address(
    url: str, token_file: Path | None, keep: Path | None, site: Path | None, devices: int
) -> Iterator[Address]:
    """Where the control plane is, and what lets the boards in.

    Raises:
        ContractError: `malformed` for a URL or a token that is none.
        DeviceError: `bad-config` for a token that can't be read.
        EdgeliftError: what the control plane refuses.
    """
    from edgelift.logins import plain_url
    from edgelift_contract.identity import TOKEN_MARK
    from edgelift_fleet.files import disk_errors
    from edgelift_fleet.server_file import read_server_file
    from edgelift_fleet.simulate.http import Address
    from edgelift_fleet.site import SHARED_TOKEN

    url = plain_url(url) if url else ""
    said = read_token(token_file) if token_file is not None else ""
    ca_file = os.environ.get("EDGELIFT_CA_FILE", "")
    if url and said and not said.startswith(TOKEN_MARK):
        yield Address.of(url, said, ca_file=ca_file)
        return
    here = None if said.startswith(TOKEN_MARK) else _site_here(site)
    if here is not None and not here.config.tls:
        yield Address.of(url or read_server_file(here).url, said or here.secret(SHARED_TOKEN), ca_file=ca_file)
        return
    with ExitStack() as stack:
        boards = keep or (here.run / "boards" if here is not None else None)
        if boards is None:
            boards = Path(stack.enter_context(TemporaryDirectory(prefix="edgelift-boards-")))
        with disk_errors(f"the folder of the boards' certificates, {boards}"):
            boards.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield stack.enter_context(_certified(said, site, devices, boards))


@contextmanager
def _certified(said: str, site: Path | None, devices: int, boards: Path) -> Iterator[Address]:
    """By the enrolment token that was said, or one that is made for these boards, and taken back in the end."""
    from edgelift_contract.identity import parse_token
    from edgelift_fleet.first_contact import pinned_authority
    from edgelift_fleet.messages import TokenMade, TokenRequest, TokenView
    from edgelift_fleet.simulate.http import Address

    client = None if said else open_client(site)
    made = None
    if client is not None:
        wanted = TokenRequest(devices, _token_days(devices), {}, "edgelift simulate")
        made = client.post("/v1/tokens", wanted, TokenMade)
    token = parse_token(said or (made.token if made is not None else ""))
    try:
        yield Address.certified(token.url, token.secret, pinned_authority(token.url, token.pin), boards)
    finally:
        if client is not None and made is not None:
            with suppress(TransportError):  # it ends within minutes by itself
                client.delete(f"/v1/tokens/{made.id}", TokenView)


def _site_here(site: Path | None) -> Site | None:
    """The site that was said, or is the default; None where a control plane elsewhere was. Raises as both."""
    where = whereabouts(site)
    return None if where.server else open_site(where.site)


def _token_days(devices: int) -> float:
    """How long the token of so many boards holds: until all have come, and not long after a `kill -9`."""
    return (_TOKEN_S + devices * _ENROLMENT_S) / 86400


async def _live(simulation: Simulation, lasts_s: float | None, every_s: float, *, quiet: bool) -> None:
    from edgelift_fleet.simulate.counts import progress_line

    loop, until = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, until.set)
    if lasts_s is not None:
        loop.call_later(lasts_s, until.set)
    living = asyncio.create_task(simulation.run(until))
    while not living.done():
        await asyncio.wait([living], timeout=every_s)
        if not until.is_set():
            say(progress_line(simulation.figures()), to_errors=quiet)
    await living
    say(progress_line(simulation.outcome()), to_errors=quiet)
