"""Passwords: what one may be, and the digest by which it is known again. Pure, and slow on purpose: some 80 ms and 32 MB."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

from edgelift_contract.errors import ContractError

#: Characters of a password.
SHORTEST, LONGEST = 10, 256
#: Of scrypt: 128 · N · R bytes of memory for each guess.
_N, _R, _P = 2**15, 8, 1
#: What a digest that we read may cost at most: a row that was altered must not take all memory.
_MOST_N = 2**20
_FORM = re.compile(r"scrypt\$(\d{1,8})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9+/=]{1,64})\$([A-Za-z0-9+/=]{1,128})\Z")


def check_form(password: str) -> None:
    """Raises ContractError `malformed` for what can be no password."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ContractError(
            "malformed", f"A password has {SHORTEST} to {LONGEST} characters.",
            hint="Several words are easy to keep: or have one made, with --generate.",
        )  # fmt: skip


def generate() -> str:
    """A password that nobody guesses: 128 random bits."""
    return secrets.token_urlsafe(16)


def digest_password(password: str) -> str:
    """By what a password is known again, with its parameters and its salt. Raises as `check_form`."""
    check_form(password)
    salt = secrets.token_bytes(16)
    return _written(_N, _R, _P, salt, _stretched(password, salt, _N, _R, _P))


def check_password(password: str, digest: str) -> bool:
    """Is it the password that `digest_password` saw? An empty digest, nobody's, takes as long and is never right."""
    found, known = _FORM.match(NOBODYS), _FORM.match(digest)
    found = known or found
    assert found is not None
    n, r, p = (int(one) for one in found.groups()[:3])
    salt, wanted = (base64.b64decode(one) for one in found.groups()[3:])
    if n > _MOST_N or n & (n - 1) or n < 2 or r > 16 or p > 4 or not r or not p:
        return False
    same = hmac.compare_digest(_stretched(password[:LONGEST], salt, n, r, p), wanted)
    return same and known is not None


def _stretched(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    given = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(given, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


def _written(n: int, r: int, p: int, salt: bytes, made: bytes) -> str:
    return f"scrypt${n}${r}${p}${base64.b64encode(salt).decode()}${base64.b64encode(made).decode()}"


#: In place of a digest where there is no such person, so that the answer takes as long.
NOBODYS = _written(_N, _R, _P, bytes(16), bytes(32))
