"""What keeping a site is about, as a backup holds it and as commands print it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract.ids import Bytes, DeviceId, Sha256

_Column = Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}\Z")]
_Secret = Annotated[str, Meta(pattern=r"^[a-z][a-z-]{0,62}\Z")]


class BackupPart(msgspec.Struct, frozen=True):
    """A member of the file. `sha256` is of its bytes as they are in the file."""

    name: Annotated[str, Meta(max_length=200)]
    size_bytes: Bytes
    sha256: Sha256


class BackupTable(msgspec.Struct, frozen=True):
    """A table: `parts` hold its `rows`, each a list of values in the order of `columns`."""

    name: _Column
    columns: list[_Column]
    rows: int
    parts: list[BackupPart]


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup; the member before the last, which holds its SHA-256.

    Attributes:
        id: of this backup alone.
        made_at: seconds since 1970: the state that it holds is of this moment.
        version: of the edgelift that made it.
        site: the site's name.
        config: its `site.toml` as a table; without passwords.
        engine: of the database that it was taken from, `sqlite` or `postgresql`.
        form: of its tables: a migration's number.
        releases: as `digits@2`, the oldest first.
        blobs: all that releases and assignments name and that were whole.
        with_blobs: are their bytes here too?
        lost: blobs that were missing or damaged when it was made.
        secrets: by name; empty when it was made without.
    """

    SCHEMA: ClassVar[int] = 1

    format: str = "edgelift-backup"
    schema: int
    id: str
    made_at: float
    version: str
    site: str
    config: dict[str, str | bool | float | int | list[str] | dict[str, Any]]
    engine: str
    form: str
    tables: list[BackupTable]
    releases: list[str]
    blobs: list[BackupPart]
    with_blobs: bool
    lost: list[str]
    secrets: dict[_Secret, BackupPart]


class BackupReport(msgspec.Struct, frozen=True, kw_only=True):
    """A backup as it was made or verified. `lost`: blobs that were missing or damaged, and so aren't in it."""

    path: str
    size_bytes: int
    made_at: float
    site: str
    engine: str
    version: str
    form: str
    devices: int
    rows: int
    releases: list[str]
    blobs: int
    blob_bytes: int
    with_blobs: bool
    with_secrets: bool
    lost: list[str]


class RestoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """A site that was restored.

    Attributes:
        folder: of the site.
        database: as people may see it.
        backup: what it was made from.
        new_secrets: the backup held none, so devices and tools need the new ones.
        missing: blobs that releases name and that aren't there.
        unready: releases with a blob that isn't there: publish them again.
        cancelled, going_back: rollouts that were under way, as `r7`.
        holds: are devices that went on since left as they are until they are told?
    """

    folder: str
    database: str
    backup: BackupReport
    new_secrets: bool
    missing: list[str]
    unready: list[str]
    cancelled: list[str]
    going_back: list[str]
    holds: bool


class CollectedBlob(msgspec.Struct, frozen=True):
    """A blob that nothing has named since then, seconds since 1970."""

    sha256: str
    size_bytes: int
    since: float


class CollectReport(msgspec.Struct, frozen=True, kw_only=True):
    """Blobs that nothing names.

    Attributes:
        dry_run: nothing was deleted: `collected` would be.
        collected, collected_bytes: deleted.
        waiting, waiting_bytes: not named either, but not for long enough.
        next_at: when the first of those has waited long enough, seconds since 1970; 0 for none. One that was seen so for
            the first time by a dry run counts from the next run that is none.
        named: blobs that something names; they stay.
        leftovers, leftover_bytes: parts of uploads that were interrupted, deleted too.
        blobs: the collected ones, the first 1,000.
    """

    dry_run: bool
    collected: int
    collected_bytes: int
    waiting: int
    waiting_bytes: int
    next_at: float
    named: int
    leftovers: int
    leftover_bytes: int
    blobs: list[CollectedBlob]


class WentOn(msgspec.Struct, frozen=True, kw_only=True):
    """A slot of a device that went on since the backup, and would run something else if it were told what the site says.

    Attributes:
        device, slot: whose.
        says: what the site says, as `digits@2`; empty for nothing.
        runs: the version that the device runs; empty for none.
        revision, revision_seen: of the site's assignment; the newest that the device has seen.
    """

    device: str
    slot: str
    says: str
    runs: str
    revision: int
    revision_seen: int


class RestoredView(msgspec.Struct, frozen=True, kw_only=True):
    """The last restore of a site.

    Attributes:
        backup: its id.
        made_at, restored_at: of what moment it is, and when it was put back, seconds since 1970.
        holds: are devices that went on left as they are until they are told?
        devices: how many are; those that were heard of since.
        went_on: their slots, the first 1,000.
    """

    backup: str
    made_at: float
    restored_at: float
    holds: bool
    devices: int
    went_on: list[WentOn]


class TellRequest(msgspec.Struct, frozen=True):
    """Which devices that went on are told what the site says; all when `devices` is empty, those that come later, too."""

    devices: Annotated[list[DeviceId], Meta(max_length=1000)] = []


class TellReply(msgspec.Struct, frozen=True):
    """Who was told; and are others still left as they are?"""

    told: list[str]
    holds: bool
