"""What this server sends, as its site's file and its environment say; the SDK is imported only where something is sent."""

from __future__ import annotations

import logging
import os
import re
import stat
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from edgelift_contract.errors import DeviceError
from edgelift_fleet.alerts.answers import check_url
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.metrics.exposition import FleetMetrics
from edgelift_fleet.otlp_settings import OtlpSettings, is_installed, sent_here, what_is_sent

log = logging.getLogger(__name__)

#: Longest file of headers that is read, bytes.
_MAX_HEADERS = 16 * 1024
_INSTALL = "Install it: pip install 'edgelift[otlp]'."
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


def otlp_of(fleet: Fleet) -> AbstractContextManager[object]:
    """What sends, for as long as a server runs; nothing where nothing is to be sent.

    Raises:
        DeviceError: `bad-config`, and `tool-missing` where the extra isn't installed.
    """
    settings = fleet.site.config.otlp
    sent = sent_here(settings)
    if not sent:
        if what_is_sent(settings, os.environ):
            log.warning("$OTEL_EXPORTER_OTLP_ENDPOINT asks for traces or metrics: nothing is sent. %s", _INSTALL)
        return nullcontext()
    if not is_installed():
        raise DeviceError(
            "tool-missing", "[otlp] in site.toml asks for packages that are not installed here.", hint=_INSTALL
        )
    address = _address(settings, fleet.site.folder) if sent.by_file else {}
    from edgelift_fleet.otlp.exporters import OtlpAddress, metric_exporter, span_exporter
    from edgelift_fleet.otlp.sending import Sending
    from edgelift_fleet.otlp.spans import fleet_resource

    to = OtlpAddress(**address)
    return Sending(
        fleet.db, fleet.lead, fleet_resource(fleet.site.config.name), FleetMetrics(fleet).families,
        began_at=fleet.started_at, every_s=settings.every_s,
        traces=span_exporter(to) if sent.traces else None, metrics=metric_exporter(to) if sent.metrics else None,
    )  # fmt: skip


def _address(settings: OtlpSettings, folder: Path) -> dict[str, Any]:
    """As `exporters.OtlpAddress`, which may not be there."""
    try:
        check_url(settings.endpoint)
    except ValueError as error:
        raise _bad(f"endpoint: {error}", "Write http://HOST:4318 or https://HOST:4318.") from error
    ca_file = folder / settings.ca_file if settings.ca_file else None
    if ca_file is not None and not ca_file.is_file():
        raise _bad(f"there is no ca_file {ca_file}", "Name a file of certificates in PEM.")
    headers = _headers(folder / settings.headers_file) if settings.headers_file else None
    return {"url": settings.endpoint, "headers": headers, "ca_file": str(ca_file or "")}


def _headers(file: Path) -> dict[str, str]:
    """The headers that a file holds, which may be secrets: what is wrong is said without them."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(_MAX_HEADERS + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(f"headers_file {file} cannot be read: {type(error).__name__}", "Name another.") from error
    if len(text) > _MAX_HEADERS or not stat.S_ISREG(mode):
        raise _bad(f"headers_file {file} is no file of at most {_MAX_HEADERS} bytes", "Name another.")
    if mode & 0o077:
        raise _bad(f"others can read headers_file {file}", f"chmod 600 {file}")
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not _NAME.match(name.strip()) or not value.strip().isprintable():
            raise _bad(f"line {number} of headers_file {file} is no header", "Write `name: value`, one a line.")
        found[name.strip()] = value.strip()
    return found


def _bad(what: str, hint: str) -> DeviceError:
    return DeviceError("bad-config", f"[otlp] in site.toml: {what}.", hint=hint)
