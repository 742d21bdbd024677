"""A webhook, signed as Standard Webhooks has it (standardwebhooks.com, specification 1.0).

`webhook-id` is the message's, the same however often it is sent; `webhook-timestamp` is when it is sent, in seconds since
1970; `webhook-signature` is `v1,` and the Base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`, by the key that both have. A key
that begins with `whsec_` is Base64 after that; any other is its own bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgelift_fleet.alert_settings import WebhookSettings
from edgelift_fleet.alerts.answers import Receipt, check_url, post
from edgelift_fleet.messages.alerts import AlertMessage

_MARK = "whsec_"
#: Shortest key, bytes, as the specification has it.
_LEAST_KEY = 24


class WebhookBody(msgspec.Struct, frozen=True):
    """The body of a webhook: `type` is `alert.` and the event; `timestamp` when the message was made, ISO 8601."""

    type: str
    timestamp: str
    data: AlertMessage


@dataclass(frozen=True)
class Webhook:
    """A receiver that takes signed POSTs."""

    url: str
    where: str
    timeout_s: float
    ca_file: Path | None

    @classmethod
    def of(cls, settings: WebhookSettings, ca_file: Path | None, secret: str) -> Webhook:
        """From what `site.toml` says. Raises ValueError, as a part of a sentence."""
        url = check_url(settings.url)
        key_of(secret)
        return cls(settings.url, url.netloc, settings.timeout_s, ca_file)

    def send(self, message: AlertMessage, secret: str) -> Receipt:
        """POST it."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(message.at))
        body = msgspec.json.encode(WebhookBody(f"alert.{message.event}", at, message))
        try:
            headers = signed(message.id, int(time.time()), body, key_of(secret))
        except ValueError as error:
            return Receipt(False, f"Its key can't be used: {error}.")
        return post(self.url, body, headers, timeout_s=self.timeout_s, ca_file=self.ca_file)


def key_of(secret: str) -> bytes:
    """The key of a secret. Raises ValueError, as a part of a sentence, for one that is none."""
    key = secret.encode()
    if secret.startswith(_MARK):
        try:
            key = base64.b64decode(secret[len(_MARK) :], validate=True)
        except binascii.Error as error:
            raise ValueError(f"its secret begins with {_MARK} and is no Base64 after it") from error
    if len(key) < _LEAST_KEY:
        raise ValueError(
            f"its secret has {len(key)} bytes, and {_LEAST_KEY} are the least: name a secret_file or secret_env with more"
        )
    return key


def signed(name: str, at: int, body: bytes, key: bytes) -> dict[str, str]:
    """The headers of a message `name` that is sent at `at`, seconds since 1970. Pure."""
    digest = hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": signature}
