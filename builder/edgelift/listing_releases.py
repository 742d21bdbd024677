"""Releases and the keys: artifacts are listed as genuine before they are published, here or by a file that is carried."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgelift.changing import Signing, settle, standing, unlist_retired
from edgelift.common import print_json
from edgelift.output import say
from edgelift.sending import Progress, listed_of

if TYPE_CHECKING:
    from edgelift_fleet.client import Client
    from edgelift_fleet.trust.change import Change
    from edgelift_fleet.trust.image import Listed


def list_release(client: Client, name: str, artifacts: Sequence[Listed], how: Signing) -> bool:
    """Have the image repository list a release's artifacts, where the site signs; False where it doesn't.

    Raises:
        ContractError: as `settle`.
    """
    from edgelift_fleet.messages.trust import SigningView

    if not client.get("/v1/trust", SigningView).roles:
        return False
    settle(client, f"publish {name}", how, lambda change: change.image.list_release(artifacts, time.time()))
    return True


def export(
    client: Client, folders: Sequence[Path], how: Signing, *, renew: bool, progress: Progress, as_json: bool
) -> None:
    """Write down what is to be signed to list these releases, and with `renew` what ends soon; see `settle`."""
    from edgelift_fleet.trust.expiring import RENEW_DAYS

    listed = [one for folder in folders for one in listed_of(folder, progress)]
    now = standing(client) if renew else None

    def make(change: Change) -> None:
        change.image.list_release(listed, time.time())
        if now is not None:
            change.renew(time.time(), RENEW_DAYS)
            unlist_retired(change, now, {one.artifact for one in listed})

    done = settle(
        client, f"publish {', '.join(folder.name for folder in folders)}" if folders else "renew", how, make
    )
    if as_json:
        print_json({"done": done, "file": str(how.to_sign)})
    elif done == "unchanged":
        say(
            "Nothing is to be signed: it is listed already. Publish it." if folders else "Nothing is to be signed."
        )
