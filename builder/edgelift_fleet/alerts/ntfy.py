"""A topic of ntfy. Published as JSON, so that no title has to fit a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgelift_fleet.alert_settings import NtfySettings
from edgelift_fleet.alerts.answers import Receipt, check_url, is_loopback, post
from edgelift_fleet.alerts.texts import body_of, title_of
from edgelift_fleet.messages.alerts import AlertMessage

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
#: What ntfy shows whole, bytes; a longer text would become a file beside it.
_MAX_TEXT = 3800
_PRIORITY = {"critical": 5, "warning": 4, "notice": 3}
_TAGS = {"critical": "rotating_light", "warning": "warning", "notice": "information_source"}


@dataclass(frozen=True)
class Ntfy:
    """A topic, and the server that has it."""

    server: str
    topic: str
    where: str
    timeout_s: float
    ca_file: Path | None

    @classmethod
    def of(cls, settings: NtfySettings, ca_file: Path | None, *, has_secret: bool) -> Ntfy:
        """From what `site.toml` says. Raises ValueError, as a part of a sentence."""
        url = check_url(settings.url)
        path, _, topic = url.path.rpartition("/")
        if not _TOPIC.match(topic) or url.query:
            raise ValueError(
                f"its url {settings.url!r} does not end with a topic, as https://ntfy.example/alerts does"
            )
        if has_secret and url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise ValueError("its token would be sent in plain text: use https")
        server = f"{url.scheme}://{url.netloc}{path}/"
        return cls(server, topic, f"{url.netloc}/{topic}", settings.timeout_s, ca_file)

    def send(self, message: AlertMessage, secret: str) -> Receipt:
        """Publish it."""
        published = {
            "topic": self.topic, "title": title_of(message), "message": _cut(body_of(message)),
            "priority": _PRIORITY.get(message.severity, 3) if message.event != "ended" else 2,
            "tags": ["white_check_mark" if message.event == "ended" else _TAGS.get(message.severity, "bell"), message.code],
        }  # fmt: skip
        if message.link:
            published["click"] = message.link
        headers = {"Idempotency-Key": message.id}
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        return post(
            self.server, msgspec.json.encode(published), headers, timeout_s=self.timeout_s, ca_file=self.ca_file
        )


def _cut(text: str) -> str:
    data = text.encode()
    return text if len(data) <= _MAX_TEXT else data[:_MAX_TEXT].decode(errors="ignore") + "…"
