"""The commands about a site: `init`, `publish`, `serve`, `releases`."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelift import (
    device_commands,
    keeping_commands,
    rollout_commands,
    rollout_start,
    simulate_commands,
    telemetry_commands,
)
from edgelift.common import (
    BlobsOption,
    DatabaseOption,
    JsonOption,
    SiteOption,
    check_database,
    open_database,
    open_site,
    print_json,
    warn_of_password,
)
from edgelift.output import make_console, say

if TYPE_CHECKING:
    from edgelift_fleet.server_file import Running
    from edgelift_fleet.site import Site


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("init")(_init)
    app.command("publish")(_publish)
    app.command("serve")(_serve)
    app.command("releases")(_releases)
    device_commands.register(app)
    keeping_commands.register(app)
    rollout_commands.register(app, rollout_start.start)
    simulate_commands.register(app)
    telemetry_commands.register(app)


def _init(
    folder: Annotated[Path | None, typer.Argument(help="The new site's folder [default: ./site].")] = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    blobs: BlobsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a site: the folder in which a control plane keeps its database, blobs and secrets."""
    from edgelift_fleet.site import create_site, default_folder

    warn_of_password(database)
    made, new = create_site(folder or site or default_folder(), database=database, blobs=blobs)
    if database and not new:
        check_database(made, database)
    with open_database(made) as db:
        name = db.name
    token = made.folder / "secrets" / "enrolment-token"
    if as_json:
        print_json({"site": str(made.folder), "new": new, "database": name, "enrolment_token_file": str(token)})
        return
    if not new:
        say(f"The site {made.folder} exists already; nothing was changed.")
        return
    say(f"Made the site {made.folder}")
    if made.config.database:
        say(f"Its database is {name}")
    say(f"Devices enrol with the token in {token}")
    say(f"Next: edgelift publish RELEASE_FOLDER --site {made.folder}; edgelift serve --site {made.folder}")


def _publish(
    release: Annotated[Path, typer.Argument(help="A release folder, as `edgelift build` writes it.")],
    site: SiteOption = None,
    database: DatabaseOption = "",
    blobs: BlobsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Publish a release: check every byte of it and take it into the site. A running server sees it at once."""
    from edgelift_fleet.registry import publish

    where = open_site(site, database, blobs)
    with open_database(where) as db, _bar(quiet=as_json) as (bar, task):
        done = publish(where, db, release, progress=lambda n, all_: _advance(bar, task, n, all_))
    name = f"{done.release.model}@{done.release.version}"
    if as_json:
        print_json(
            {
                "release": name,
                "new": done.new,
                "artifacts": len(done.release.artifacts),
                "size_bytes": done.size_bytes,
            }
        )
    elif done.new:
        say(f"Published {name}: {len(done.release.artifacts)} artifacts, {done.size_bytes / 1e6:.2f} MB.")
    else:
        changed = f"{done.mended} damaged files of it were mended" if done.mended else "nothing was changed"
        say(f"{name} is published already, with the same content; {changed}.")


def _bar(*, quiet: bool) -> Any:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    console = make_console(to_errors=True)
    if quiet or not console.is_terminal:
        return nullcontext((None, None))
    bar = Progress(
        TextColumn("checking and storing"), BarColumn(), DownloadColumn(), console=console, transient=True
    )
    return _Started(bar)


class _Started:
    """A rich progress bar with its one task, as a context."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def __enter__(self) -> tuple[Any, Any]:
        self._bar.start()
        return self._bar, self._bar.add_task("", total=None)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _advance(bar: Any, task: Any, done: int, total: int) -> None:
    if bar is not None:
        bar.update(task, completed=done, total=total)


def _serve(
    site: SiteOption = None,
    database: DatabaseOption = "",
    blobs: BlobsOption = "",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="HTTP port; 0 takes a free one.")] = 8470,
    broker: Annotated[
        str,
        typer.Option(
            "--broker",
            help="auto: start mosquitto where it is installed; none; mqtt:// or mqtts://user:pass@host:port.",
        ),
    ] = "auto",
    mqtt_port: Annotated[
        int, typer.Option("--mqtt-port", min=0, max=65535, help="Port of our mosquitto; 0 takes a free one.")
    ] = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, to standard error.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the site's control plane until Ctrl-C or SIGTERM."""
    from edgelift_fleet.server import serve

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("alembic", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    where = open_site(site, database, blobs)
    serve(
        where,
        host=host,
        port=port,
        broker=broker,
        mqtt_port=mqtt_port,
        ready=lambda running: _ready(where, running, as_json=as_json),
    )


def _ready(site: Site, running: Running, *, as_json: bool) -> None:
    if as_json:
        print_json({"url": running.url, "broker": running.broker, "site": str(site.folder), "pid": os.getpid()})
        return
    say(f"Serving {running.url} · broker {running.broker} · site {site.folder} · pid {os.getpid()}")


def _releases(site: SiteOption = None, database: DatabaseOption = "", as_json: JsonOption = False) -> None:
    """List the published releases, newest first."""
    from edgelift_fleet.release_list import list_releases

    with open_database(open_site(site, database)) as db, db.read() as session:
        found = list_releases(session, open_site(site, database).blobs).items
    if as_json:
        print_json(found)
        return
    from edgelift.output import ago, show_table

    rows = [
        (
            f"{r.model}@{r.version}",
            ago(r.published_at),
            str(r.running),
            "\n".join(
                [
                    *(
                        f"{a.hardware_class} · {a.runtime} · {a.variant} · {a.size_bytes / 1e3:.0f} KB"
                        for a in r.artifacts
                    ),
                    *([r.fault] if r.fault else []),
                ]
            ),
        )
        for r in found
    ]
    show_table(("release", "published", "running on", "artifacts, best first"), rows)
