"""Why a call failed, in words."""

from __future__ import annotations

import requests


def cause_of(error: BaseException) -> str:
    """The innermost reason in words, without the wrapping of three libraries."""
    inner: BaseException | None = error
    seen = 0
    while inner is not None and seen < 10:
        if isinstance(inner, OSError) and inner.strerror and not isinstance(inner, requests.RequestException):
            return inner.strerror
        reason = getattr(inner, "reason", None)
        inner = next((a for a in (reason, *inner.args) if isinstance(a, BaseException)), inner.__cause__)
        seen += 1
    return str(error)
