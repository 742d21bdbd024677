"""`edgelift release allow-older`: the builders let devices go back to a release that have run a newer one."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from edgelift.changing import Signing, ToSignOption, settle
from edgelift.common import DatabaseOption, JsonOption, ReleaseArgument, SiteOption, open_registry, print_json
from edgelift.output import say
from edgelift.signing import KeyOption, keys_folder, site_folder
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import parse_release


def allow_older(
    release: ReleaseArgument,
    no_more: Annotated[bool, typer.Option("--no-more", help="Allow it no more.")] = False,
    key: KeyOption = None,
    to_sign: ToSignOption = None,
    site: SiteOption = None,
    database: DatabaseOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let devices go back to a release though they have run a newer one: signed by the builders, as a publication is. The
    control plane can't order it alone, but to what a device ran just before. Then: --allow-older with assign or a rollout.
    """
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import ReleaseDetail

    model, version = parse_release(release)
    what = "go back to" if not no_more else "not go back any more to"
    how = Signing(key or [], keys_folder(site_folder(site)), to_sign)
    with open_registry(site, database) as client:
        found = client.get(f"/v1/releases/{segment(model)}/{segment(version)}", ReleaseDetail).release
        if found.retired_at and not no_more:
            raise ContractError(
                "conflict", f"{release} is retired: it is given to nobody new.",
                hint=f"First: edgelift release unretire {release}.",
            )  # fmt: skip
        done = settle(
            client, f"let devices {what} {release}", how,
            lambda change: change.image.allow_older(model, version, time.time(), allowed=not no_more),
        )  # fmt: skip
    if as_json:
        print_json({"release": release, "done": done, "allow_older": not no_more})
    elif done == "unchanged":
        say(f"That is so already: devices may {what} {release}.")
    elif done == "brought":
        say(f"Signed: devices may {what} {release} if they are told to.")
