"""`edgelift simulate`: a fleet of simulated boards against a running control plane."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, SiteOption, open_site, print_json, seconds
from edgelift.output import say
from edgelift_contract.errors import ContractError, DeviceError

if TYPE_CHECKING:
    from edgelift_fleet.simulate.engine import Simulation


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
        Path | None, typer.Option("--token-file", help="Holds the enrolment token [default: the site's own].")
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
    from edgelift_fleet.simulate.engine import Simulation
    from edgelift_fleet.simulate.http import Address
    from edgelift_fleet.simulate.profile import load_profile

    check_device_id(f"{prefix}-{devices:05d}")
    loaded = load_profile(profile)
    lasts_s, every_s = seconds(lasts) if lasts else None, max(0.1, seconds(every))
    where, token = _where(url, token_file, site)
    address = Address.of(where, token, ca_file=os.environ.get("EDGELIFT_CA_FILE", ""))
    simulation = Simulation(address, loaded, devices, seed=seed, prefix=prefix)
    collect_rarely()
    asyncio.run(_live(simulation, lasts_s, every_s, quiet=as_json))
    if as_json:
        print_json(simulation.figures())


def _where(url: str, token_file: Path | None, site: Path | None) -> tuple[str, str]:
    """The control plane's URL and its enrolment token."""
    from edgelift_fleet.server_file import read_server_file

    if url and not url.startswith(("http://", "https://")):
        raise ContractError("malformed", f"{url!r} is no URL.", hint="Write it as http://host:8470.")
    here = None if url and token_file else open_site(site)
    if token_file is not None:
        try:
            token = token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeviceError("bad-config", f"The token file {token_file} cannot be read: {error}.") from error
    else:
        token = here.secret("enrolment-token") if here is not None else ""
    return url or (read_server_file(here).url if here is not None else ""), token


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
        say(progress_line(simulation.figures()), to_errors=quiet)
    await living
