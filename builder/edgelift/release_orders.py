"""`edgelift release …`: one release, and what becomes of it: retired, taken back, deleted. Without a server too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import DatabaseOption, JsonOption, ReleaseArgument, SiteOption, open_registry, print_json
from edgelift.going_back_command import allow_older
from edgelift.output import ago, say, show_table
from edgelift_contract.ids import parse_release
from edgelift_contract.meaning import in_words, metadata_text

if TYPE_CHECKING:
    from edgelift_fleet.messages import ReleaseMeaning, ReleaseUses, ReleaseView

#: Names in a line; there may be thousands.
_NAMED = 10
_USES = {
    "assigned": "should run it", "rollouts": "give it out", "going_back": "would go back to it",
    "serving": "say that it serves",
}  # fmt: skip


def register(group: typer.Typer) -> None:
    """Add these commands to `group`."""
    for name, command in _COMMANDS.items():
        group.command(name)(command)


def _show(
    release: ReleaseArgument, site: SiteOption = None, database: DatabaseOption = "", as_json: JsonOption = False
) -> None:
    """Show a release: what it has for which boards, and all that names it."""
    from edgelift_fleet.messages import ReleaseDetail

    with open_registry(site, database) as client:
        found = client.get(_path(release), ReleaseDetail)
    if as_json:
        print_json(found)
        return
    _tell(found.release)
    show_table(
        ("for", "runtime", "format", "variant", "KB", "rank", "artifact"),
        [
            (a.hardware_class, a.runtime, a.format, a.variant, f"{a.size_bytes / 1e3:.0f}", str(a.rank), a.id[:12])
            for a in found.release.artifacts
        ],
    )
    for told in found.meanings:
        _tell_meaning(told)
    for one in found.signatures:
        say(
            f"Its source came signed, which was verified when it was built: {one.signer}, model sha256:{one.model_sha256}"
        )
    if found.allow_older:
        say("The builders let devices go back to it that have run a newer one.")
    for line in _uses(found.uses):
        say(line)


def _tell_meaning(told: ReleaseMeaning) -> None:
    rows = [
        (side, name, "\n".join(in_words(meaning)))
        for side, meanings in (("input", told.inputs), ("output", told.outputs))
        for name, meaning in meanings.items()
    ]
    if rows:
        show_table(("tensor", "name", "what its numbers mean"), rows)
    if told.metadata:
        show_table(("metadata", "value"), [(key, metadata_text(value)) for key, value in told.metadata.items()])


def _uses(uses: ReleaseUses) -> list[str]:
    lines = []
    for kind, words in _USES.items():
        names: list[str] = getattr(uses, kind)
        number = uses.counts.get(kind, len(names))
        if number:
            more = f" and {number - _NAMED:,} more" if number > _NAMED else ""
            lines.append(f"{number:,} {words}: {', '.join(names[:_NAMED])}{more}")
    return lines or ["Nothing names it: it can be deleted."]


def _retire(
    release: ReleaseArgument,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, kept with it.")] = "",
    site: SiteOption = None,
    database: DatabaseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a release to nobody new; devices that have it keep it, and may go back to it."""
    from edgelift_fleet.messages import ReleaseView, RetireRequest

    with open_registry(site, database) as client:
        _done(client.post(f"{_path(release)}/retire", RetireRequest(why), ReleaseView), as_json=as_json)


def _unretire(
    release: ReleaseArgument, site: SiteOption = None, database: DatabaseOption = "", as_json: JsonOption = False
) -> None:
    """Let a retired release be given out again."""
    from edgelift_fleet.messages import ReleaseView

    with open_registry(site, database) as client:
        _done(client.post(f"{_path(release)}/unretire", {}, ReleaseView), as_json=as_json)


def _delete(
    release: ReleaseArgument, site: SiteOption = None, database: DatabaseOption = "", as_json: JsonOption = False
) -> None:
    """Delete a release that nothing names; refused with what names it."""
    from edgelift_fleet.messages import ReleaseView

    with open_registry(site, database) as client:
        was = client.delete(_path(release), ReleaseView)
    if as_json:
        print_json(was)
    else:
        say(f"Deleted {was.model}@{was.version}; its files go when blobs that nothing names are collected.")


def _path(release: str) -> str:
    """Raises ContractError `bad-id`."""
    from edgelift_fleet.client import segment

    model, version = parse_release(release)
    return f"/v1/releases/{segment(model)}/{segment(version)}"


def _done(release: ReleaseView, *, as_json: bool) -> None:
    if as_json:
        print_json(release)
    else:
        _tell(release)


def _tell(release: ReleaseView) -> None:
    retired = ""
    if release.retired_at:
        why = f" ({release.retired_why})" if release.retired_why else ""
        retired = f"; retired {ago(release.retired_at)}{why}: it is given to nobody new"
    since = f"published {ago(release.published_at)}, serves in {release.running} slots"
    say(f"{release.model}@{release.version}: {since}{retired}.")
    if release.fault:
        say(release.fault)


_COMMANDS: dict[str, Callable[..., None]] = {
    "show": _show, "retire": _retire, "unretire": _unretire, "delete": _delete,
    "allow-older": allow_older,
}  # fmt: skip
