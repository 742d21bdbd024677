"""The site: the one folder in which a control plane lives.

site.toml            name, database; the file that makes a folder a site, written last
edgelift.db          SQLite in WAL mode
blobs/<sha256>       files of all releases, written once
secrets/             enrolment-token, operator-token, broker-key; readable by the owner only
run/                 of the running server: server.json, the broker's configuration and memory
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.files import disk_errors, write_atomically

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SITE_FILE = "site.toml"
SCHEMA = 1

_OURS = {SITE_FILE, "blobs", "secrets", "run"}


class SiteConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`site.toml`.

    Attributes:
        schema: version of this file's form.
        name: for people.
        database: SQLAlchemy URL; empty for the SQLite file in the folder.
        seen_flush_s: how often the times at which devices were last seen are written, seconds.
        telemetry_days: how long telemetry is kept, days; 0 keeps it for ever.
    """

    schema: int
    name: str = "site"
    database: str = ""
    seen_flush_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 5.0
    telemetry_days: Annotated[float, Meta(ge=0)] = 90.0


@dataclass(frozen=True)
class Site:
    """A site folder that exists."""

    folder: Path
    config: SiteConfig

    @property
    def database(self) -> Path | str:
        """Where its tables are: an SQLite file, or a URL as SQLAlchemy takes it."""
        return self.config.database or self.folder / "edgelift.db"

    @property
    def blobs(self) -> Path:
        """Folder of blobs."""
        return self.folder / "blobs"

    @property
    def run(self) -> Path:
        """Folder of what lasts as long as the server runs."""
        return self.folder / "run"

    def secret(self, name: str) -> str:
        """A secret by name: `enrolment-token`, `operator-token` or `broker-key`.

        Raises:
            DeviceError: `bad-config` when it cannot be read or is empty.
        """
        path = self.folder / "secrets" / name
        try:
            found = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeviceError(
                "bad-config", f"The secret {path} cannot be read: {error}.", hint="Run as the site's owner."
            ) from error
        if not found:
            raise DeviceError(
                "bad-config", f"The secret {path} is empty.", hint="Take it from a backup of the site."
            )
        return found


def default_folder() -> Path:
    """`$EDGELIFT_SITE`, else `./site`."""
    return Path(os.environ.get("EDGELIFT_SITE") or "site")


def create_site(folder: Path) -> tuple[Site, bool]:
    """Make `folder` a site; an existing one is left as it is.

    Returns:
        The site, and whether it is new.

    Raises:
        ContractError: `conflict` when the folder holds something else.
        DeviceError: `read-only`, `disk-full`, `disk-error`.
    """
    folder = folder.absolute()
    if (folder / SITE_FILE).exists():
        return load_site(folder), False
    with disk_errors(f"the folder {folder}"):
        if folder.exists() and not {p.name for p in folder.iterdir()} <= _OURS | {"edgelift.db"}:
            raise ContractError(
                "conflict", f"{folder} is not empty and is not a site.", hint="Name an empty or a new folder."
            )
        for part in (folder, folder / "blobs", folder / "run", folder / "secrets"):
            part.mkdir(parents=True, exist_ok=True)
        (folder / "secrets").chmod(0o700)
        (folder / "run").chmod(0o700)
        for name in ("enrolment-token", "operator-token", "broker-key"):
            if not (folder / "secrets" / name).exists():
                write_atomically(folder / "secrets" / name, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)
        name = re.sub(r"[^A-Za-z0-9_. -]", "-", folder.name) or "site"
        write_atomically(folder / SITE_FILE, f'schema = {SCHEMA}\nname = "{name}"\n'.encode())
    return load_site(folder), True


def load_site(folder: Path) -> Site:
    """Open the site in `folder`.

    Raises:
        ContractError: `not-found` when there is none.
        DeviceError: `bad-config` naming what is wrong in `site.toml`; `unknown-schema` is a ContractError.
    """
    folder = folder.absolute()
    path = folder / SITE_FILE
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))
        config = msgspec.convert(data, SiteConfig)
    except FileNotFoundError:
        raise ContractError(
            "not-found",
            f"There is no site in {folder}.",
            hint="Make one with: edgelift init DIR; or name yours with --site DIR or $EDGELIFT_SITE.",
        ) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DeviceError("bad-config", f"{path} cannot be read: {error}.") from error
    if config.schema != SCHEMA:
        raise ContractError(
            "unknown-schema", f"{path} has schema {config.schema}; this program reads schema {SCHEMA}."
        )
    return Site(folder, config)
