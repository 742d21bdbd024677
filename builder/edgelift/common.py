"""What the commands about a site share: their options, how they find the site and its server, JSON."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from edgelift.completion import names, selectors
from edgelift.output import escaped, printing, say
from edgelift.reach import connect, whereabouts
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError, TransportError
from edgelift_contract.ids import check_device_id
from edgelift_contract.spans import seconds as seconds

if TYPE_CHECKING:
    from edgelift_fleet.client import Client
    from edgelift_fleet.db import Database
    from edgelift_fleet.site import Site

#: Every command about a site takes it.
SiteOption = Annotated[
    Path | None, typer.Option("--site", metavar="DIR", help="The site folder [default: $EDGELIFT_SITE or ./site].")
]
#: The commands that open the database themselves take it; the others ask the server.
DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database", metavar="URL", envvar="EDGELIFT_DATABASE", show_default=False,
        help="As postgresql://user@host/database [default: what site.toml names, else SQLite in the site].",
    ),
]  # fmt: skip
#: As `DatabaseOption`.
BlobsOption = Annotated[
    str,
    typer.Option(
        "--blobs", metavar="PLACE", envvar="EDGELIFT_BLOBS", show_default=False,
        help="A folder, or s3://bucket/prefix [default: what site.toml names, else the site's own folder].",
    ),
]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

ToOption = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="SELECTOR",
        help="Which devices: all, tag:KEY[=VALUE], class:CLASS, fact:NAME>=VALUE, id:DEVICE, runs:MODEL@VERSION, @FILE "
        "of ids; joined by and, or, not and parentheses.",
        autocompletion=selectors,
    ),
]  # fmt: skip
DeviceArgument = Annotated[str, typer.Argument(help="The device's id.", autocompletion=names("devices"))]
ReleaseArgument = Annotated[
    str, typer.Argument(help="model@version, as in digits@2.", autocompletion=names("releases"))
]

#: How a device updates; see `edgelift_contract.assignment.Policy`.
ProbationOption = Annotated[
    str | None, typer.Option("--probation", help="How long a device is watched after the swap, as 10s or 5m.")
]
MinRequestsOption = Annotated[
    int | None, typer.Option("--min-requests", min=0, help="Requests after which probation may judge.")
]
MaxErrorRateOption = Annotated[
    float | None, typer.Option("--max-error-rate", min=0, max=1, help="Share of failed requests that swaps back.")
]
MaxLatencyRatioOption = Annotated[
    float | None,
    typer.Option("--max-latency-ratio", min=0, help="New ÷ old median that swaps back; 0: unchecked."),
]


class ShowGroup(TyperGroup):
    """Commands about one thing, as `device`. What is none of them is the thing's id, to be shown."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `edgelift device pi-1` as `edgelift device show pi-1`."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """The commands, and the ids."""
        found = super().shell_complete(ctx, incomplete)
        (which, *_) = self.commands["show"].params
        return [*found, *which.shell_complete(ctx, incomplete)]


def open_site(folder: Path | None, database: str = "", blobs: str = "") -> Site:
    """The site that a command is about, on the database and the blobs of its options; raises what `load_site` raises."""
    from edgelift_fleet.site import default_folder, load_site

    warn_of_password(database)
    return load_site(folder or default_folder(), database=database, blobs=blobs)


def warn_of_password(database: str) -> None:
    """Say so when a password stands where every user of this machine can read it. Raises what `parse_url` raises."""
    if not database or not any(database in argument for argument in sys.argv):
        return
    from edgelift_fleet.engines import parse_url, take_password

    if take_password(parse_url(database))[1]:
        say(
            "The database's password stands in this command, where others can read it: leave it out, and set "
            "$EDGELIFT_DATABASE or $PGPASSWORD, or write it into the site's secrets/database-password.",
            to_errors=True,
        )


def check_database(site: Site, database: str) -> None:
    """A site that exists is on this database; raises ContractError `conflict` where it isn't."""
    from edgelift_fleet.db import name_of

    wanted, found = name_of(database), name_of(site.database)
    if wanted != found:
        raise ContractError(
            "conflict",
            f"The site {site.folder} exists already, on the database {found}.",
            hint="To use another one for now: edgelift serve --database URL; for good: `database` in its site.toml.",
        )


@contextmanager
def open_database(site: Site, *, migrate: bool = True) -> Iterator[Database]:
    """The site's database, in this release's form; as it is without `migrate`.

    Raises:
        ContractError: `conflict` when the site's server runs on another one.
        EdgeliftError: what `Database` and `migrate` raise.
    """
    from edgelift_fleet.db import Database
    from edgelift_fleet.server_file import read_server_file

    db = Database(site.database)
    try:
        try:
            served = read_server_file(site).database
        except TransportError:
            served = ""  # none runs
        if served not in ("", db.name):
            raise ContractError(
                "conflict",
                f"The site's server runs on the database {served}; this command would use {db.name}.",
                hint="Name the same with --database, or better in site.toml.",
            )
        if migrate:
            db.migrate()
        yield db
    finally:
        db.close()


def open_client(folder: Path | None, *, timeout_s: float = 60.0) -> Client:
    """The control plane that was named, or the site's running server; `timeout_s` for an answer. Raises as `connect`."""
    where = whereabouts(folder)
    return connect(where, timeout_s=timeout_s).because(where.why)


@contextmanager
def open_registry(folder: Path | None, database: str = "", blobs: str = "") -> Iterator[Client]:
    """The API for commands that need no server: that of a running one, else of the site in this process.

    Args:
        folder: of the site.
        database: of a site in whose place no server runs; of one that runs it must be the same.
        blobs: as `database`; a server knows itself where it keeps them.

    Raises:
        ContractError: `conflict` when the site's server runs on another database.
        EdgeliftError: what `connect` and opening a site raise.
    """
    where = whereabouts(folder)
    if where.server:
        yield connect(where).because(where.why)
        return
    from edgelift_fleet.server_file import is_running, read_server_file

    site = open_site(where.site, database, blobs)
    if not is_running(site):
        from edgelift_fleet.local import client_of

        with client_of(site) as client:
            yield client.because(where.why)
        return
    if database:
        _refuse_other(read_server_file(site).database, site)
    yield connect(where).because(where.why)


def _refuse_other(served: str, site: Site) -> None:
    from edgelift_fleet.db import name_of

    if served not in ("", wanted := name_of(site.database)):
        raise ContractError(
            "conflict",
            f"The site's server runs on the database {served}; this command would use {wanted}.",
            hint="Name the same with --database, or leave it out.",
        )


def print_json(message: Any, *, hint: str = "") -> None:
    """A message as one line of JSON on standard output; raises as `printing`."""
    import msgspec

    with printing(hint=hint):
        sys.stdout.buffer.write(escaped(msgspec.json.encode(message)) + b"\n")
        sys.stdout.buffer.flush()


def check_role(role: str) -> None:
    """Raises ContractError `malformed` for what is no role of a person or a token."""
    if role not in ("viewer", "operator", "admin"):
        raise ContractError("malformed", f"{role!r} is no role.", hint="Write viewer, operator or admin.")


def selector(text: str) -> str:
    """A selector of devices as a person writes it: each `@FILE` stands for the ids in that file, one a line.

    What follows a `#` in the file is left out.

    Raises:
        ContractError: `not-found` when a file can't be read, `bad-id` when it names nobody.
    """
    return re.sub(r"(?<![^\s(])@([^\s()]+)", lambda match: _ids_of(Path(match[1])), text)


def _ids_of(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:  # no text, or no name of a file
        raise ContractError("not-found", f"The list of devices {str(path)!r} cannot be read: {error}.") from error
    ids = [line.partition("#")[0].strip() for line in lines]
    if not any(ids):
        raise ContractError("bad-id", f"The list {str(path)!r} names no device.", hint="Write one id a line.")
    return f"ids:{','.join(check_device_id(one) for one in ids if one)}"


def make_policy(
    probation: str | None,
    min_requests: int | None,
    max_error_rate: float | None,
    max_latency_ratio: float | None,
    *,
    allow_older: bool = False,
) -> Policy:
    """A policy from options; what was left out keeps its default. Raises as `seconds`."""
    import msgspec

    given = {
        "probation_s": seconds(probation) if probation is not None else None,
        "probation_min_requests": min_requests,
        "max_error_rate": max_error_rate,
        "max_latency_ratio": max_latency_ratio,
        "allow_older": allow_older or None,
    }
    return msgspec.structs.replace(Policy(), **{name: value for name, value in given.items() if value is not None})
