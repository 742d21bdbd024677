"""The commands that keep a site: `backup`, `restore`, which work on its folder and need no server; `blobs collect`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift import restored_command
from edgelift.common import (
    BlobsOption,
    DatabaseOption,
    JsonOption,
    SiteOption,
    open_client,
    open_database,
    open_site,
    print_json,
    seconds,
    warn_of_password,
)
from edgelift.output import ago, make_console, moment, say

if TYPE_CHECKING:
    from edgelift_fleet.messages.keeping import BackupReport, CollectReport, RestoreReport

_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("backup")(_backup)
    app.command("restore")(_restore)
    blobs = typer.Typer(help="The files of releases in the site.", no_args_is_help=True)
    blobs.command("collect")(_collect)
    app.add_typer(blobs, name="blobs")
    restored_command.register(app)


def _backup(
    file: Annotated[
        Path | None,
        typer.Argument(help="The new file, or the one to verify [default: backups/NAME-TIME.tar in the site]."),
    ] = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    blobs: BlobsOption = "",
    without_blobs: Annotated[
        bool, typer.Option("--without-blobs", help="Leave the models out: say only which there must be.")
    ] = False,
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Also tokens, the broker's key and the database's password.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read a backup to its last byte instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the whole site into one file, while its server runs or not; or verify such a file."""
    from edgelift_fleet.keeping import backup as keeping

    if verify:
        if file is None:
            raise typer.BadParameter("name the backup to verify", param_hint="FILE")
        with _progress("verifying", quiet=as_json) as progress:
            found = keeping.verify(file, progress=progress)
    else:
        where = open_site(site, database, blobs)
        out = (
            file
            or where.folder
            / "backups"
            / f"{where.config.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar"
        )
        with (
            open_database(where, migrate=False) as db,
            _progress("backing up", quiet=as_json) as progress,
        ):
            found = keeping.back_up(
                where, db, out, with_blobs=not without_blobs, with_secrets=with_secrets, progress=progress
            )
    if as_json:
        print_json(found)
    else:
        say(f"{'It is whole' if verify else 'Backed up'}: {_summary(found)}")
        _tell_backup(found)


def _summary(found: BackupReport) -> str:
    blobs = f"{found.blobs} blobs ({found.blob_bytes / 1e6:.1f} MB)" if found.with_blobs else "no blobs"
    secrets = "with secrets" if found.with_secrets else "without secrets"
    return (
        f"{found.path}, {found.size_bytes / 1e6:.1f} MB: {found.site} of {moment(found.made_at)}, {found.devices} devices,"
        f" {len(found.releases)} releases, {found.rows} rows, {blobs}, {secrets}."
    )


def _tell_backup(found: BackupReport) -> None:
    if found.lost:
        say(
            f"Not in it, for they are missing or damaged in the site: {len(found.lost)} blobs ({_first(found.lost)})."
            " Publish their releases again; edgelift releases shows which."
        )
    if not found.with_blobs:
        say(
            f"Kept elsewhere there must be: {found.blobs} blobs ({found.blob_bytes / 1e6:.1f} MB); restoring says which"
            " are missing."
        )
    if found.with_secrets:
        say("Whoever has this file can speak as the site and as any of its devices: keep it as you keep the site.")
    else:
        say(
            "Keep the site's secrets/ elsewhere, or take them in with --with-secrets: without them every device needs a"
            " new token."
        )


def _restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    folder: Annotated[Path | None, typer.Argument(help="The new site's folder [default: $EDGELIFT_SITE or ./site].")] = None,
    site: SiteOption = None,
    database: Annotated[
        str,
        typer.Option(
            "--database", metavar="URL", envvar="EDGELIFT_DATABASE", show_default=False,
            help="An empty database, or `sqlite` for the folder's own [default: as the backup's site had].",
        ),
    ] = "",
    blobs: BlobsOption = "",
    tell: Annotated[
        bool, typer.Option("--tell", help="Devices that went on since are told at once what the backup says."),
    ] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a site from a backup, in a new folder and an empty database; on either engine, wherever it came from."""
    from edgelift_fleet.keeping.restore import IN_FOLDER, restore
    from edgelift_fleet.site import default_folder

    if database != IN_FOLDER:
        warn_of_password(database)
    with _progress("restoring", quiet=as_json) as progress:
        made = restore(
            file, folder or site or default_folder(), database=database, blobs=blobs, tell=tell, progress=progress
        )
    if as_json:
        print_json(made)
    else:
        _tell_restored(made)


def _tell_restored(made: RestoreReport) -> None:
    say(
        f"Restored the site {made.folder} as it was on {moment(made.backup.made_at)}; its database is {made.database}."
    )
    if made.new_secrets:
        from edgelift_fleet.site import SHARED_TOKEN, load_site

        otherwise = (
            "else every device must be enrolled again, by a token: edgelift token create"
            if load_site(Path(made.folder)).config.tls
            else f"or give every device the token in {made.folder}/secrets/{SHARED_TOKEN}"
        )
        say(
            "The backup holds no secrets: the site has new ones. Before it serves, put the old files into its secrets/;"
            f" {otherwise}. Until then a device is refused (401), and goes on with what it has."
        )
    if made.missing:
        say(
            f"{_how_many(made)} blobs are missing ({_first(made.missing)}). Publish again, or devices are refused them"
            f" (missing-blob): {', '.join(made.unready)}."
        )
    if made.cancelled:
        say(
            f"Rollouts that were under way are cancelled, for their devices may have gone on: {', '.join(made.cancelled)}."
            " See edgelift rollout show; start them again, or roll them back."
        )
    if made.going_back:
        say(f"Rollouts that were taking their release back go on with that: {', '.join(made.going_back)}.")
    if made.holds:
        say(
            "Devices that went on since and run something else than this backup says keep that until you say otherwise:"
            f" edgelift restored --site {made.folder}."
        )
    else:
        say(
            "Devices that have seen more than this backup knows are told its assignments anew; edgelift devices shows"
            " who runs what."
        )
    say(f"Next: edgelift serve --site {made.folder}")


def _how_many(made: RestoreReport) -> str:
    """How many are missing; of what a missing manifest names nothing is known here, but the backup counted all."""
    found, all_of_them = len(made.missing), made.backup.blobs
    if made.backup.with_blobs or found >= all_of_them:
        return str(found)
    return f"At least {found} of the backup's {all_of_them}"


def _collect(
    site: SiteOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", help="For how long nothing must have named a blob, as 1h or 2d; at least 10m."
        ),
    ] = "1h",
    as_json: JsonOption = False,
) -> None:
    """Delete what no release, no assignment and nothing to go back to names any more."""
    from edgelift_fleet.messages.keeping import CollectReport

    asked = f"dry_run={str(dry_run).lower()}&older_than_s={seconds(older_than):g}"
    found = open_client(site).post(f"/v1/blobs/collect?{asked}", {}, CollectReport)
    if as_json:
        print_json(found)
    else:
        _tell_collected(found, older_than)


def _tell_collected(found: CollectReport, older_than: str) -> None:
    what = "Would be deleted" if found.dry_run else "Deleted"
    say(
        f"{what}: {found.collected} blobs ({found.collected_bytes / 1e6:.1f} MB) that nothing has named for"
        f" {older_than}, and {found.leftovers} leftovers of interrupted uploads ({found.leftover_bytes / 1e6:.1f} MB)."
    )
    if found.waiting:
        when = time.strftime("%H:%M", time.localtime(found.next_at))
        first = " (counted from the first run without --dry-run that sees them)" if found.dry_run else ""
        say(
            f"Not yet: {found.waiting} blobs ({found.waiting_bytes / 1e6:.1f} MB) that nothing has named for less than that;"
            f" from {when} on{first}."
        )
    say(f"Named, and so kept: {found.named} blobs.")
    if found.blobs:
        from edgelift.output import show_table

        rows = [(one.sha256, f"{one.size_bytes / 1e3:.0f} KB", ago(one.since)) for one in found.blobs]
        show_table(("blob", "size", "named last"), rows)


def _first(digests: list[str]) -> str:
    shown = ", ".join(f"{digest[:12]}…" for digest in digests[:_SHOWN])
    return f"{shown} and {len(digests) - _SHOWN} more" if len(digests) > _SHOWN else shown


@contextmanager
def _progress(doing: str, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar of rows, then one of bytes, on a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = make_console(to_errors=True)
    if quiet or not console.is_terminal:
        yield lambda _what, _done, _all: None
        return
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn(),
        console=console, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(doing, total=None)
        yield lambda what, done, total: bar.update(
            task, description=f"{doing}: {total / 1e6:.0f} MB" if what == "bytes" else f"{doing}: {total} rows",
            completed=done, total=total,
        )  # fmt: skip
