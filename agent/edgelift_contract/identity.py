"""Who a device is: the token by which it comes first, and the certificate that it has from then on.

A device makes its own key and never shows it; it sends a request for a certificate (PKCS #10) with `POST /v1/enroll`,
under a token or under the certificate that it has already, and gets a certificate of the site's own authority.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import Schema
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import Sha256

#: What a token begins with, so that people and programs that look for secrets know one.
TOKEN_MARK = "edgelift1."  # noqa: S105 - the mark, not a secret
MAX_TOKEN_BYTES = 2048

#: Where the authority's certificate is asked for, before anybody is trusted: its digest stands in the token.
AUTHORITY = "/v1/authority"

#: A certificate or a few, as PEM.
Certificates = Annotated[str, Meta(max_length=16 * 1024)]


class EnrolToken(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator hands to whoever sets a device up; one string, which `dump_token` writes.

    Attributes:
        url: of the control plane.
        pin: SHA-256 of its authority's certificate.
        secret: shown with the enrolment, as bearer.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    url: Annotated[str, Meta(min_length=8, max_length=500, pattern=r"^https?://[^\s?#@]+\Z")]
    pin: Sha256
    secret: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{16,200}\Z")]


class Certified(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a device is given with its enrolment when it asked for a certificate.

    Attributes:
        certificate: its own, for the key that it asked with.
        authorities: who may vouch for the control plane from now on; the newest first.
        port: where HTTPS is answered, where the device came over plain HTTP; 0 for where it came.
        metrics: for the same key, by which the device answers who scrapes its metrics; empty from an older control plane.
    """

    certificate: Certificates
    authorities: Certificates
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    metrics: Certificates = ""


class Authorities(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/authority`: certificates (PEM) of those who may vouch for the control plane, the newest first."""

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    certificates: Certificates


def dump_token(token: EnrolToken) -> str:
    """The token as one word."""
    return TOKEN_MARK + base64.urlsafe_b64encode(codec.canonical_json(token)).decode().rstrip("=")


def parse_token(text: str) -> EnrolToken:
    """Read what `dump_token` wrote.

    Raises:
        ContractError: `malformed`, `too-large`, `unknown-schema`.
    """
    text = text.strip()
    if len(text) > MAX_TOKEN_BYTES:
        raise ContractError("too-large", f"An enrolment token has at most {MAX_TOKEN_BYTES} characters.")
    if not text.startswith(TOKEN_MARK):
        raise ContractError(
            "malformed", f"This is no enrolment token: one begins with {TOKEN_MARK!r}.",
            hint="Make one with: edgelift token create.",
        )  # fmt: skip
    body = text.removeprefix(TOKEN_MARK)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ContractError("malformed", "The enrolment token is not whole: copy all of it.") from error
    return codec.decode_json(data, EnrolToken, what="enrolment token", limit_bytes=MAX_TOKEN_BYTES)
