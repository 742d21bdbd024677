"""Sites that sign, made without a command."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from tests.fleet.in_process import Api

from edgelift_contract.manifest import dump_manifest, parse_manifest
from edgelift_contract.signed import IMAGE, genuine
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.site import Site
from edgelift_fleet.trust.admission import admitted
from edgelift_fleet.trust.beginning import begin_trust
from edgelift_fleet.trust.image import Holders, Image, Listed
from edgelift_fleet.trust.key_files import new_private, signer_of
from edgelift_fleet.trust.online import create_online_key, freshen, online_signer
from edgelift_fleet.trust.store import newest, put

#: Who holds the root's and the builder's key.
KEY = signer_of(new_private())
HOLDERS = Holders((KEY.public_key,))


def listed_of(folder: Path) -> list[Listed]:
    """A release's artifacts, as they are listed."""
    made = []
    for path in sorted((folder / "manifests").iterdir()):
        manifest = parse_manifest(path.read_bytes())
        artifact, data = dump_manifest(manifest)
        made.append(Listed(artifact, len(data), genuine(manifest)))
    return made


def sign(site: Site, releases: Iterable[Path]) -> None:
    """Make a site sign, and list its releases."""
    create_online_key(site)
    online = online_signer(site)
    with contextlib.closing(Database(site.database)) as db:
        db.migrate()
        with db.write(SITE) as session:
            begin_trust(session, HOLDERS, HOLDERS, [KEY], online, time.time())
            stored = newest(session, IMAGE)
            image = Image.load(
                {role: one.body for role, one in stored.items() if role not in ("snapshot", "timestamp")}
            )
            for folder in releases:
                image.list_release(listed_of(folder), time.time())
            image.sign([KEY])
            put(session, IMAGE, admitted(stored, image.files()))
            freshen(session, online)


def standing(api: Api) -> Image:
    """What is signed, as whoever signs the next thing asks for it."""
    return Image.load({role: text.encode() for role, text in api.get("/v1/trust/image")["roles"].items()})
