"""The site: the one folder in which a control plane lives.

site.toml            name, database; the file that makes a folder a site, written last
edgelift.db          SQLite in WAL mode
blobs/<sha256>       files of all releases, written once
secrets/             operator-token, broker-key, the site's authority, the token that devices share where they have no
                     certificates, and the password of a database that has one; readable by the owner only
run/                 of the running server: server.json, the broker's configuration and memory
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.otlp_settings import OtlpSettings

if TYPE_CHECKING:
    import sqlalchemy as sa

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SITE_FILE = "site.toml"
SCHEMA = 1

#: The secret that holds the password of a database.
OF_DATABASE = "database-password"
#: The secret that devices of a site without certificates share.
SHARED_TOKEN = "enrolment-token"  # noqa: S105 - its name

#: Longest `site.toml` that is read, bytes.
_MAX_BYTES = 256 * 1024
_OURS = {SITE_FILE, "blobs", "secrets", "run"}


_Days = Annotated[float, Meta(ge=0, le=100_000)]


class SiteConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`site.toml`.

    Attributes:
        schema: version of this file's form.
        name: for people.
        database: `postgresql://user@host/database`; empty for the SQLite file in the folder. Its password may stand
            in the URL, in the secret `database-password`, or where libpq looks: $PGPASSWORD, ~/.pgpass.
        tls: devices have certificates and nothing but TLS is spoken; without, as on a site of an older release, the token
            that its devices share is taken too, over plain HTTP, until they have moved over.
        names: host names and addresses by which the server is reached, beside those that it finds by itself.
        behind_proxy: addresses and networks of proxies before the server: they are believed from where a request came.
        blobs: where blobs are: a folder that several servers mount, or `s3://bucket/prefix`; empty for the site's own.
        blobs_endpoint: URL of an S3 that isn't Amazon's; empty for what $AWS_ENDPOINT_URL says.
        seen_flush_s: how often the times at which devices were last seen are written, seconds.
        telemetry_days: how long telemetry is kept at all, days, by sums of a day; 0 keeps it for ever, here and below.
        telemetry_hour_days: how long sums of an hour are kept.
        telemetry_minute_days: how long windows and gauges are kept as they came.
        telemetry_event_days: how long swaps and events are kept.
        bundle_days: how long devices' bundles are kept, days; 0 keeps them until there are too many.
        alerts: from when something is told, and to whom.
        bundle_limit_bytes: what all bundles together may take; the oldest go first.
        metrics_devices: devices with series of their own at `/metrics`, at most: the worst.
        otlp: where traces and metrics are sent.
    """

    schema: int
    name: str = "site"
    database: str = ""
    tls: bool = False
    names: list[str] = []
    behind_proxy: list[str] = []
    blobs: str = ""
    blobs_endpoint: str = ""
    seen_flush_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 5.0
    telemetry_days: _Days = 400.0
    telemetry_hour_days: _Days = 45.0
    telemetry_minute_days: _Days = 2.0
    telemetry_event_days: _Days = 90.0
    bundle_days: _Days = 14.0
    bundle_limit_bytes: Annotated[int, Meta(ge=0, le=2**40)] = 256 << 20
    alerts: AlertSettings = msgspec.field(default_factory=AlertSettings)
    metrics_devices: Annotated[int, Meta(ge=0, le=100_000)] = 1000
    otlp: OtlpSettings = msgspec.field(default_factory=OtlpSettings)


@dataclass(frozen=True)
class Site:
    """A site folder that exists."""

    folder: Path
    config: SiteConfig

    @property
    def database(self) -> Path | sa.URL:
        """Where its tables are: an SQLite file, or a URL, with its password if we know it.

        Raises:
            DeviceError: `bad-config`.
        """
        if not self.config.database:
            return self.folder / "edgelift.db"
        url, password = _parse(self.config.database)
        if not password and (self.folder / "secrets" / OF_DATABASE).exists():
            password = self.secret(OF_DATABASE)
        return url.set(password=password) if password else url

    @property
    def blobs(self) -> Path:
        """Folder of blobs, where they are in one."""
        where = self.config.blobs
        return self.folder / where if where and "://" not in where else self.folder / "blobs"

    @property
    def run(self) -> Path:
        """Folder of what lasts as long as the server runs."""
        return self.folder / "run"

    def secret(self, name: str) -> str:
        """A secret by name: `enrolment-token`, `operator-token`, `broker-key` or `database-password`.

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


def create_site(folder: Path, *, database: str = "", blobs: str = "", tls: bool = False) -> tuple[Site, bool]:
    """Make `folder` a site; an existing one is left as it is.

    Args:
        folder: empty, or not there yet.
        database: URL of its database; empty for SQLite in the folder. A password in it becomes a secret.
        blobs: where its blobs are; empty for a folder of its own.
        tls: its devices have certificates; see `SiteConfig.tls`.

    Returns:
        The site, and whether it is new.

    Raises:
        ContractError: `conflict` when the folder holds something else.
        DeviceError: `bad-config` for another `database`, `read-only`, `disk-full`, `disk-error`.
    """
    url, password = _parse(database) if database else (None, "")
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
            part.chmod(0o700)
        for name in ("operator-token", "broker-key", *(() if tls else (SHARED_TOKEN,))):
            _make_secret(folder, name)
        if password:
            write_atomically(folder / "secrets" / OF_DATABASE, password.encode() + b"\n", mode=0o600)
        write_atomically(folder / SITE_FILE, _site_file(folder.name, url, blobs, tls).encode(), mode=0o600)
    return load_site(folder), True


def _make_secret(folder: Path, name: str) -> None:
    if not (folder / "secrets" / name).exists():
        write_atomically(folder / "secrets" / name, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)


def allow_shared_token(site: Site) -> None:
    """Have the token that all devices share, where the site is to speak plain HTTP. Raises DeviceError: the disk's."""
    with disk_errors("the site's secrets"):
        _make_secret(site.folder, SHARED_TOKEN)


def _parse(database: str) -> tuple[sa.URL, str]:
    # Not above: a client of a running server needs no database, and would wait for this import most of its time.
    from edgelift_fleet.engines import parse_url, take_password

    return take_password(parse_url(database))


def _site_file(name: str, database: sa.URL | None, blobs: str, tls: bool) -> str:
    lines = [f"schema = {SCHEMA}", f'name = "{re.sub(r"[^A-Za-z0-9_. -]", "-", name) or "site"}"']
    if database is not None:
        text = database.set(drivername=database.get_backend_name()).render_as_string(hide_password=False)
        lines.append(f"database = {json.dumps(text, ensure_ascii=False)}")
    if blobs:
        lines.append(f"blobs = {json.dumps(blobs, ensure_ascii=False)}")
    if tls:
        lines.append("tls = true")
    return "\n".join(lines) + "\n"


def write_config(folder: Path, config: SiteConfig) -> None:
    """Write the `site.toml` of a folder; raises `OSError`."""
    defaults = msgspec.to_builtins(_DEFAULTS)
    lines = [
        f"{name} = {_toml(value)}"
        for name, value in msgspec.to_builtins(config).items()
        if name == "schema" or value != defaults[name]
    ]
    write_atomically(folder / SITE_FILE, ("\n".join(lines) + "\n").encode(), mode=0o600)


def _toml(value: Any) -> str:
    """A value as TOML writes it on one line; JSON's texts, numbers and lists are TOML's."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_toml(one)}' for name, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


_DEFAULTS = SiteConfig(schema=SCHEMA, name="")


def load_site(folder: Path, *, database: str = "", blobs: str = "") -> Site:
    """Open the site in `folder`; `database` and `blobs`, if given, stand in for those that its file names.

    Raises:
        ContractError: `not-found` when there is none.
        DeviceError: `bad-config` naming what is wrong in `site.toml`; `unknown-schema` is a ContractError.
    """
    folder = folder.absolute()
    path = folder / SITE_FILE
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise DeviceError("bad-config", f"{path} has more than {_MAX_BYTES} bytes.")
        data = tomllib.loads(text.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n"))
        config = codec.convert(data, SiteConfig, what=f"file {path}")
    except ContractError as error:
        raise DeviceError("bad-config", error.message, hint=error.hint) from error
    except FileNotFoundError:
        raise ContractError(
            "not-found",
            f"There is no site in {folder}.",
            hint="Make one: edgelift init DIR; name yours with --site DIR or $EDGELIFT_SITE; or log in: edgelift login URL.",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DeviceError("bad-config", f"{path} cannot be read: {error}.") from error
    if config.schema != SCHEMA:
        raise ContractError(
            "unknown-schema", f"{path} has schema {config.schema}; this program reads schema {SCHEMA}."
        )
    given = {name: value for name, value in (("database", database), ("blobs", blobs)) if value}
    return Site(folder, msgspec.structs.replace(config, **given))
