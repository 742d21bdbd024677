"""How edgelift itself is: server, database, broker, queues, disk, who leads, what is signed until when."""

from __future__ import annotations

import shutil

import msgspec

from edgelift_fleet.api.operator_routes import server_health
from edgelift_fleet.api.trust_routes import signing_view
from edgelift_fleet.console.kinds import ConsolePage, Form, PageAsked
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import Load, ServerHealth
from edgelift_fleet.messages.trust import SigningView

#: Of a limit: more than this is told as something to look at.
_NEAR = 0.8
_SQLITE = "SQLite, in the site's folder"
_LOW_BYTES, _LOW_SHARE = 1e9, 0.05


class Check(msgspec.Struct, frozen=True):
    """A part of the system: `tone` is `good`, `warn` or `bad`; `says` how it is; `do` what to do, empty where nothing is."""

    name: str
    tone: str
    says: str
    do: str = ""


class SystemPage(msgspec.Struct, frozen=True):
    """The system's own health: `checks`, the server's figures, who signs what, and where the site's disk stands, bytes."""

    checks: list[Check]
    health: ServerHealth
    signing: SigningView
    database: str
    leader: str
    disk_free_bytes: int
    disk_bytes: int


def read_system(fleet: Fleet, _asked: PageAsked) -> SystemPage:
    """Read it."""
    health, signing = server_health(fleet), signing_view(fleet)
    disk = shutil.disk_usage(fleet.site.folder)
    leader = "this server" if health.leads else fleet.lead.holder() or "another server"
    checks = [
        Check("Database", "good", "PostgreSQL, which several servers may share" if fleet.db.shared else _SQLITE),
        _broker(health.broker), _leader(health.leads, leader), _disk(disk.free, disk.total),
        *_limits(health.load), _blobs(health.damaged_blobs), _signing(signing),
    ]  # fmt: skip
    return SystemPage(checks, health, signing, fleet.db.name, leader, disk.free, disk.total)


def _broker(state: str) -> Check:
    if state == "connected":
        return Check("Broker", "good", "connected")
    if state == "none":
        return Check("Broker", "good", "none: all devices poll over HTTP")
    return Check(
        "Broker",
        "bad",
        "not connected: devices fall back to HTTP",
        "Look at its log; it is tried again by itself.",
    )


def _leader(leads: bool, leader: str) -> Check:
    return Check(
        "Leader", "good", "this server drives rollouts" if leads else f"{leader} drives rollouts; this one answers"
    )


def _disk(free: float, total: float) -> Check:
    text = f"{free / 1e9:.1f} GB free of {total / 1e9:.0f} GB"
    if free < _LOW_BYTES or free < _LOW_SHARE * total:
        return Check("Disk", "warn", text, "Free space: edgelift collect frees blobs that nothing names any more.")
    return Check("Disk", "good", text)


def _limits(load: Load) -> list[Check]:
    """Pure."""
    found = []
    for name, used, limit in (
        ("Connections", load.connections, load.connections_limit), ("Descriptors", load.descriptors, load.descriptors_limit)
    ):  # fmt: skip
        near = bool(limit) and used > _NEAR * limit
        text = f"{used:,} of {limit:,}" if limit else f"{used:,}"
        found.append(
            Check(name, "warn" if near else "good", text, "Raise its limit (docs/limits.md)." if near else "")
        )
    return [*found, Check("Queue", "good", f"{load.waiting_messages:,} messages of devices wait to be stored")]


def _blobs(damaged: int) -> Check:
    if damaged:
        return Check("Blobs", "bad", f"{damaged} damaged, set aside", "Publish their releases again.")
    return Check("Blobs", "good", "all that were looked through are whole")


def _signing(signing: SigningView) -> Check:
    if not signing.roles:
        return Check("Signing", "warn", "this site signs nothing", "Begin: edgelift keys begin.")
    if signing.warnings:
        return Check("Signing", "warn", " ".join(signing.warnings), "edgelift keys renew.")
    return Check("Signing", "good", f"{len(signing.roles)} roles, none ends soon")


PAGES = (ConsolePage("/system", "system.html", read_system, nav="System"),)
FORMS: tuple[Form, ...] = ()
