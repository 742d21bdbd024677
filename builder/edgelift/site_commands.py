"""The commands about a site's folder: `init`, `serve`."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift import (
    access_commands,
    alert_commands,
    audit_commands,
    device_commands,
    export_command,
    keeping_commands,
    key_commands,
    login_commands,
    release_commands,
    rollout_commands,
    rollout_start,
    simulate_commands,
    telemetry_commands,
    token_commands,
    user_commands,
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
from edgelift.signing import PRESETS, begin, new_passphrase

if TYPE_CHECKING:
    from edgelift_fleet.server_file import Running
    from edgelift_fleet.site import Site


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("init")(_init)
    app.command("serve")(_serve)
    release_commands.register(app)
    device_commands.register(app)
    export_command.register(app)
    keeping_commands.register(app)
    key_commands.register(app)
    login_commands.register(app)
    rollout_commands.register(app, rollout_start.start)
    simulate_commands.register(app)
    telemetry_commands.register(app)
    token_commands.register(app)
    user_commands.register(app)
    access_commands.register(app)
    alert_commands.register(app)
    audit_commands.register(app)


def _init(
    folder: Annotated[Path | None, typer.Argument(help="The new site's folder [default: ./site].")] = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    blobs: BlobsOption = "",
    preset: Annotated[
        str,
        typer.Option("--signers", help="Who signs: one-person, or 2-of-3 for releases and for who may sign them."),
    ] = "one-person",
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Sign nothing: devices then run whatever the control plane says.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a site: the folder in which a control plane keeps its database, blobs and secrets; and its signing keys."""
    if preset not in PRESETS:
        raise typer.BadParameter(f"{preset!r} is none of {', '.join(PRESETS)}", param_hint="--signers")
    from edgelift_fleet.identity.authority import refuse_clock
    from edgelift_fleet.identity.files import CERTIFICATES, authority_of
    from edgelift_fleet.site import SITE_FILE, create_site, default_folder

    warn_of_password(database)
    where = folder or site or default_folder()
    # Before anything is made: a site whose keys nobody could choose, or that no clock could date, would sign nothing.
    is_new = not (where / SITE_FILE).exists()
    if is_new:
        refuse_clock(time.time())
    signs = not unsigned and is_new
    said = new_passphrase("the site's signing keys") if signs else ""
    made, new = create_site(where, database=database, blobs=blobs, tls=True)
    if database and not new:
        check_database(made, database)
    with open_database(made) as db:
        name = db.name
    authority = authority_of(made) if new else None
    keys = _begun(made, preset, said) if new and signs else []
    if as_json:
        print_json(
            {
                "site": str(made.folder),
                "new": new,
                "database": name,
                "authority": str(made.folder / "secrets" / CERTIFICATES),
                "keys": [str(path) for path in keys],
            }
        )
        return
    if not new:
        say(f"The site {made.folder} exists already; nothing was changed.")
        if not unsigned and not _signs(made):
            say(f"It signs nothing. Let it begin to: edgelift keys begin --site {made.folder}")
        return
    say(f"Made the site {made.folder}")
    if made.config.database:
        say(f"Its database is {name}")
    for path in keys:
        say(f"Made the signing key {path}")
    if keys:
        say(
            "Keep the root keys elsewhere, as on a stick in a drawer: they say who may sign, and are seldom needed"
        )
    assert authority is not None
    say(f"Made its certificate authority, known by {authority.pin}")
    say(f"Next: edgelift publish RELEASE_FOLDER --site {made.folder}; edgelift serve --site {made.folder}")
    say("Devices come by a token: edgelift token create; on the device: edgelift-agent enroll")


def _begun(site: Site, preset: str, said: str) -> list[Path]:
    """Its keys; where they can't be made the site is there all the same, and it is said how it gets them."""
    try:
        return begin(site, PRESETS[preset], said)
    except BaseException:  # Ctrl-C too
        say(
            f"The site {site.folder} is made, and signs nothing yet. Go on with: edgelift keys begin --signers {preset}"
            f" --site {site.folder}",
            to_errors=True,
        )
        raise


def _signs(site: Site) -> bool:
    from edgelift_fleet.trust.store import has_trust

    with open_database(site) as db, db.read() as session:
        return has_trust(session)


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
    tls_port: Annotated[
        int | None,
        typer.Option(
            "--tls-port",
            min=0,
            max=65535,
            show_default=False,
            help="On a site of an older release: HTTPS beside plain HTTP, so that its devices move over [default: none].",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plain HTTP: whatever is shown can be read and altered on the way.")
    ] = False,
    behind_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--behind-proxy",
            metavar="ADDRESS",
            show_default=False,
            help="A proxy stands before it, and is believed from where requests come; again for each [default: none].",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, to standard error.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the site's control plane until Ctrl-C or SIGTERM."""
    from edgelift_fleet.doors import Ports, check_proxies
    from edgelift_fleet.server import serve
    from edgelift_fleet.site import allow_shared_token

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("alembic", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    where = open_site(site, database, blobs)
    proxies = check_proxies([*where.config.behind_proxy, *(behind_proxy or [])])
    if insecure:
        allow_shared_token(where)
    _warn_of_plain(where, insecure=insecure, tls_port=tls_port)
    serve(
        where,
        Ports(host, port, mqtt_port, None if where.config.tls else tls_port, proxies),
        broker=broker,
        insecure=insecure,
        ready=lambda running: _ready(where, running, as_json=as_json),
    )


def _warn_of_plain(site: Site, *, insecure: bool, tls_port: int | None) -> None:
    """Say in red what is spoken in the clear."""
    if site.config.tls and not insecure:
        return
    text = "INSECURE: plain HTTP. Tokens and models can be read and altered on the way."
    if not site.config.tls and not insecure:
        text += (
            " Devices move over to HTTPS by themselves while this runs; then set tls = true in site.toml."
            if tls_port is not None
            else " To let devices move over to HTTPS: --tls-port 8471 (docs/identity.md)."
        )
    make_console(to_errors=True).print(text, style="bold red")


def _ready(site: Site, running: Running, *, as_json: bool) -> None:
    if as_json:
        print_json({"url": running.url, "broker": running.broker, "site": str(site.folder), "pid": os.getpid()})
        return
    if not _signs(site):
        make_console(to_errors=True).print(
            "UNSIGNED: devices run whatever this control plane says, or who took it over. Let it sign: edgelift keys begin"
            f" --site {site.folder}",
            style="bold red", markup=False,
        )  # fmt: skip
    say(f"Serving {running.url} · broker {running.broker} · site {site.folder} · pid {os.getpid()}")
