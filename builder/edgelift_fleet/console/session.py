"""Who looks at a page: a cookie holds the token of a login, and forms prove that they were drawn for it. Pure.

The cookie is the access token itself, as `edgelift login` keeps one: the server keeps its digest alone, so that whoever
reads the database has no session. No script can read it, no other site's page sends it (`SameSite=Strict`), and it goes over
TLS alone where the site has that. A form that changes something bears a key that follows from the token, for browsers that
know no `SameSite`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

#: A browser takes a cookie of this prefix from a page over TLS alone, for this very host and all its paths (RFC 6265bis).
_SECURE, _PLAIN = "__Host-edgelift", "edgelift"


def cookie_name(*, secure: bool) -> str:
    """What the cookie is called, by whether the site has TLS."""
    return _SECURE if secure else _PLAIN


def token_in(cookies: Mapping[str, str], *, secure: bool) -> str:
    """The token that a request's cookies bear; empty for none."""
    return cookies.get(cookie_name(secure=secure), "")


def form_key(token: str) -> str:
    """What a form drawn for this session bears, 32 hexadecimal digits."""
    return hmac.new(token.encode("utf-8", "replace"), b"edgelift form", hashlib.sha256).hexdigest()[:32]


def is_own_form(token: str, given: str) -> bool:
    """Was a form drawn for this session?"""
    return hmac.compare_digest(form_key(token).encode(), given.encode("utf-8", "replace"))


def set_cookie(token: str, *, secure: bool, max_age_s: float) -> str:
    """The header that has a browser keep a token."""
    parts = [f"{cookie_name(secure=secure)}={token}", "Path=/", f"Max-Age={max(0, int(max_age_s))}"]
    return "; ".join([*parts, "HttpOnly", "SameSite=Strict", *(["Secure"] if secure else [])])
