"""The commands about releases: `publish`, `releases`, `release`. They need no running server: see `common.open_registry`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift import release_orders
from edgelift.changing import Signing, ToSignOption
from edgelift.common import (
    BlobsOption,
    DatabaseOption,
    JsonOption,
    ShowGroup,
    SiteOption,
    open_registry,
    print_json,
)
from edgelift.completion import names
from edgelift.list_command import Asking, lists, show
from edgelift.listing import ListView, Look, PageWish, Query, ask, counted, given, is_list, left_of
from edgelift.listing_releases import export, list_release
from edgelift.output import ago, progress_bar, say
from edgelift.sending import Sent, send_release
from edgelift.signing import KeyOption, keys_folder, site_folder

if TYPE_CHECKING:
    from edgelift_fleet.client import Client, ListPage
    from edgelift_fleet.messages import ReleaseView

_COLUMNS = ("release", "published", "running on", "artifacts, best first")


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("publish")(_publish)
    several = typer.Typer(invoke_without_command=True)
    several.callback()(_releases)
    one = typer.Typer(
        cls=ShowGroup, help="Show one release, `edgelift release NAME@VERSION`; or retire or delete it.",
        no_args_is_help=True, rich_markup_mode=None,
    )  # fmt: skip
    for name, group in {"releases": several, "release": one}.items():
        release_orders.register(group)
        app.add_typer(group, name=name)


def _publish(
    release: Annotated[Path, typer.Argument(help="A release folder, as `edgelift build` writes it.")],
    site: SiteOption = None,
    database: DatabaseOption = "",
    blobs: BlobsOption = "",
    key: KeyOption = None,
    to_sign: ToSignOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a release: check every byte of it, sign it, and send what is not there. Without a server it is put into the
    site. Where more must sign than keys are here: write down what (--to-sign), and run this again once it is brought.
    """
    from edgelift_fleet.messages.trust import SigningView

    how = Signing(key or [], keys_folder(site_folder(site)), to_sign)
    with open_registry(site, database, blobs) as client, progress_bar(quiet=as_json) as progress:
        if to_sign is not None:
            export(client, [release], how, renew=False, progress=progress, as_json=as_json)
            return
        done = send_release(
            client, release, progress, lambda artifacts: list_release(client, release.name, artifacts, how)
        )
        ending = client.get("/v1/trust", SigningView).warnings if done.signed else []
    if as_json:
        print_json(
            {
                "release": done.reply.release, "new": done.reply.new, "artifacts": done.reply.artifacts,
                "size_bytes": done.reply.size_bytes, "sent": done.files, "sent_bytes": done.size_bytes,
                "mended": done.mended, "signed": done.signed,
            }
        )  # fmt: skip
    else:
        say(_said(done))
    for line in ending:
        say(line, to_errors=True)


def _said(done: Sent) -> str:
    reply = done.reply
    if not reply.new:
        changed = f"{done.mended} damaged files of it were mended" if done.mended else "nothing was changed"
        return f"{reply.release} is published already, with the same content; {changed}."
    sent = "" if done.size_bytes >= reply.size_bytes else f", of which {done.size_bytes / 1e6:.2f} MB were new"
    what = "Signed and published" if done.signed else "Published"
    return f"{what} {reply.release}: {reply.artifacts} artifacts, {reply.size_bytes / 1e6:.2f} MB{sent}."


@lists
def _releases(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", help="Of this model.", autocompletion=names("models"))] = "",
    retired: Annotated[
        bool | None, typer.Option("--retired/--not-retired", help="Given to nobody new, or not so.")
    ] = None,
    database: DatabaseOption = "",
    *,
    asking: Asking,
) -> None:
    """List releases, newest first: how many, then each with what it has for which boards; or do something with one."""
    if not is_list(context):
        return
    query: Query = {"name": model, "retired": retired}
    show(
        asking, _look(query, asking.wish), lambda client, most: _page(client, query, asking.wish, most).items,
        open_registry(asking.site, database),
    )  # fmt: skip


def _page(client: Client, query: Query, wish: PageWish, most: int | None) -> ListPage[ReleaseView]:
    from edgelift_fleet.messages import ReleaseView

    return ask(client, "/v1/releases", query, ReleaseView, wish, most)


def _look(query: Query, wish: PageWish) -> Look:
    def look(client: Client, most: int | None) -> ListView:
        page = _page(client, query, wish, most)
        named = {f"{one.model}@{one.version}": one for one in page.items}
        of = " as asked for" if given(query) else ""
        return ListView(
            noun="releases",
            head=f"{counted(page.total, 'releases')}{of}."
            if page.total
            else f"No release{of or ' is published yet'}.",
            columns=_COLUMNS,
            rows=[_row(name, one) for name, one in named.items()],
            items=named,
            counts={"total": page.total},
            left=left_of(page, wish),
            onward=f"the same with --after {list(named)[-1]}, or with --all" if named else "",
        )

    return look


def _row(name: str, release: ReleaseView) -> tuple[str, ...]:
    lines = [
        f"{a.hardware_class} · {a.runtime} · {a.variant} · {a.size_bytes / 1e3:.0f} KB" for a in release.artifacts
    ]
    lines += [release.fault] if release.fault else []
    lines += [f"retired {ago(release.retired_at)} {release.retired_why}".rstrip()] if release.retired_at else []
    return name, ago(release.published_at), str(release.running), "\n".join(lines)
