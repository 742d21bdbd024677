"""Who looks at a page: a cookie holds the token of a login, and a form must come from a page of this very site. Pure.

The cookie is the access token itself, as `edgelift login` keeps one: the server keeps its digest alone, so that whoever
reads the database has no session. No script can read it, no other site's page sends it (`SameSite=Strict`), and it goes over
TLS alone where the site has that.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from edgelift_contract.errors import ContractError

#: A browser takes a cookie of this prefix from a page over TLS alone, for this very host and all its paths (RFC 6265bis).
_SECURE, _PLAIN = "__Host-edgelift", "edgelift"


def cookie_name(*, secure: bool) -> str:
    """What the cookie is called, by whether the site has TLS."""
    return _SECURE if secure else _PLAIN


def token_in(cookies: Mapping[str, str], *, secure: bool) -> str:
    """The token that a request's cookies bear; empty for none."""
    return cookies.get(cookie_name(secure=secure), "")


def set_cookie(token: str, *, secure: bool, max_age_s: float) -> str:
    """The header that has a browser keep a token."""
    parts = [f"{cookie_name(secure=secure)}={token}", "Path=/", f"Max-Age={max(0, int(max_age_s))}"]
    return "; ".join([*parts, "HttpOnly", "SameSite=Strict", *(["Secure"] if secure else [])])


def judge_origin(headers: Mapping[str, str]) -> None:
    """Refuse a form that another site's page sends.

    Browsers say where a form comes from: by `Sec-Fetch-Site` (Fetch Metadata), older ones by `Origin` (RFC 6454). What says
    neither is no browser, and sends no cookie that it was not given on purpose.

    Raises:
        ContractError: `malformed`.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        origin = headers.get("origin")
        own = origin is None or urlsplit(origin).netloc == headers.get("host", "-")
    if not own:
        raise ContractError(
            "malformed",
            "The form comes from another site's page.",
            hint="Open the console itself, and send it from there.",
        )
