"""Mail by SMTP: one plain text to all addresses of a receiver."""

from __future__ import annotations

import re
import smtplib
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from edgelift_contract.text import clean
from edgelift_fleet.alert_settings import MailSettings
from edgelift_fleet.alerts.answers import Receipt, is_loopback
from edgelift_fleet.alerts.texts import body_of, title_of
from edgelift_fleet.messages.alerts import AlertMessage

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}\Z")
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,190}\Z")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_MAX_SAID = 300


@dataclass(frozen=True)
class Mail:
    """Mailboxes, and the server that takes mail for them."""

    host: str
    port: int
    security: str
    user: str
    sender: str
    to: tuple[str, ...]
    where: str
    timeout_s: float
    ca_file: Path | None

    @classmethod
    def of(cls, settings: MailSettings, ca_file: Path | None, *, has_secret: bool) -> Mail:
        """From what `site.toml` says. Raises ValueError, as a part of a sentence."""
        if not _HOST.match(settings.host):
            raise ValueError(f"{settings.host!r} is no host")
        wrong = [one for one in (settings.sender, *settings.to) if not _ADDRESS.match(one)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no address of a mailbox")
        if bool(settings.user) != has_secret:
            raise ValueError("a user has a password, in secret_file or secret_env, and who has none needs no user")
        if settings.user and settings.security == "none" and not is_loopback(settings.host):
            raise ValueError("its password would be sent in plain text: let security be starttls or tls")
        return cls(
            settings.host, settings.port or _PORTS[settings.security], settings.security, settings.user, settings.sender,
            tuple(settings.to), ", ".join(settings.to), settings.timeout_s, ca_file,
        )  # fmt: skip

    def send(self, message: AlertMessage, secret: str) -> Receipt:
        """Hand it to the server."""
        try:
            with ExitStack() as stack:
                server = stack.enter_context(self._connect())
                if self.user:
                    server.login(self.user, secret)
                refused = server.send_message(self._mail(message), self.sender, list(self.to))
        except smtplib.SMTPRecipientsRefused as error:
            return Receipt(False, _cut(f"it refused all: {_refusals(error.recipients)}"))
        except smtplib.SMTPAuthenticationError as error:  # its words may repeat what was sent
            return Receipt(False, f"it refused the user {self.user!r} and the password (SMTP {error.smtp_code})")
        except smtplib.SMTPResponseException as error:
            return Receipt(False, _cut(f"SMTP {error.smtp_code}: {_text(error.smtp_error)}"))
        except (smtplib.SMTPException, OSError, ValueError) as error:
            return Receipt(False, _cut(f"{type(error).__name__}: {error}"))
        # Once more would be twice for those who have it.
        return Receipt(True, _cut(f"taken; refused: {_refusals(refused)}") if refused else "taken")

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
        if self.security == "starttls":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server

    def _mail(self, message: AlertMessage) -> EmailMessage:
        mail = EmailMessage()
        # `title_of` is one clean line: nothing in it begins another header; EmailMessage refuses such besides.
        mail["Subject"] = title_of(message)
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.to)
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, timezone.utc))
        mail["Message-ID"] = f"<{message.id}@{self.sender.partition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(body_of(message))
        return mail


def _refusals(refused: dict[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{address} (SMTP {code}: {_text(said)})" for address, (code, said) in refused.items())


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _cut(text: str) -> str:
    return clean(text)[:_MAX_SAID]
