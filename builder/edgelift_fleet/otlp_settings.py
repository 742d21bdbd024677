"""A site's settings of OTLP: where traces and metrics are sent. Words and bounds only; see docs/tracing.md."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Line

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class OtlpSettings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`[otlp]`.

    Attributes:
        endpoint: base URL of a receiver of OTLP over HTTP, as `https://collector.example:4318`; `/v1/traces` and
            `/v1/metrics` are added. Empty for what $OTEL_EXPORTER_OTLP_ENDPOINT and its like say, or nowhere.
        headers_file: a file that only its owner can read, from the site's folder on, with a header a line: `name: value`.
        ca_file: an authority of the receiver's own, in PEM, from the site's folder on.
        traces, metrics: what is sent.
        every_s: how often metrics are, seconds.
    """

    endpoint: Line = ""
    headers_file: str = ""
    ca_file: str = ""
    traces: bool = True
    metrics: bool = True
    every_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0


@dataclass(frozen=True)
class SentSignals:
    """What is sent, and whether the site's file says so; else the server's environment does."""

    traces: bool
    metrics: bool
    by_file: bool

    def __bool__(self) -> bool:
        return self.traces or self.metrics


_NOTHING = SentSignals(traces=False, metrics=False, by_file=False)


def what_is_sent(settings: OtlpSettings, environment: Mapping[str, str]) -> SentSignals:
    """What a site sends, by its file or by the variables of opentelemetry's SDK. Pure."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return _NOTHING
    if settings.endpoint:
        return SentSignals(traces=settings.traces, metrics=settings.metrics, by_file=True)
    return SentSignals(
        traces=settings.traces and _is_named("TRACES", environment),
        metrics=settings.metrics and _is_named("METRICS", environment),
        by_file=False,
    )


def sent_here(settings: OtlpSettings) -> SentSignals:
    """What this process is to send; nothing where its environment alone asks for it and the extra isn't installed."""
    sent = what_is_sent(settings, os.environ)
    return sent if sent.by_file or not sent or is_installed() else _NOTHING


def is_installed() -> bool:
    """Is the extra `[otlp]` there? It is not imported for that."""
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _is_named(signal: str, environment: Mapping[str, str]) -> bool:
    if environment.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() == "none":
        return False
    return bool(environment.get(_ENDPOINT) or environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))
