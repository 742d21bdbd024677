"""Who is told, as the site's file says: checked at the start, and each message sent in its receiver's way.

A way gives an `Receipt` whatever happens: nothing that a receiver does, or fails to do, is an error of the control plane.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgelift_contract.errors import DeviceError
from edgelift_fleet.alert_settings import (
    AnyReceiver,
    MailSettings,
    NtfySettings,
    ReceiverSettings,
    WebhookSettings,
)
from edgelift_fleet.alerts.answers import Receipt
from edgelift_fleet.alerts.kinds import KINDS
from edgelift_fleet.alerts.mail import Mail
from edgelift_fleet.alerts.ntfy import Ntfy
from edgelift_fleet.alerts.webhook import Webhook
from edgelift_fleet.messages.alerts import AlertMessage

#: Longest secret that is read, bytes.
_MAX_SECRET = 4096


class Channel(Protocol):
    """How a receiver is reached."""

    @property
    def where(self) -> str:
        """A host and a topic, or addresses; for people."""

    def send(self, message: AlertMessage, secret: str) -> Receipt:
        """Send a message, with the receiver's secret, empty for none; never raises for what the receiver does."""


@dataclass(frozen=True)
class Receiver:
    """One receiver: its name, its kind, the codes that it is told of (empty for all), and how it is reached."""

    name: str
    kind: str
    codes: Sequence[str]
    timeout_s: float
    way: Channel
    secret: Secret

    def wants(self, code: str) -> bool:
        """Is it told of alerts with this code?"""
        return not self.codes or code in self.codes

    def send(self, message: AlertMessage) -> Receipt:
        """Send a message; what can't be is in the answer."""
        try:
            return self.way.send(message, self.secret.read())
        except DeviceError as error:
            return Receipt(False, str(error))


@dataclass(frozen=True)
class Secret:
    """Where a receiver's secret is kept; it is read anew each time, so that it can be changed while a server runs."""

    whose: str
    file: Path | None = None
    variable: str = ""

    def read(self) -> str:
        """The secret; empty where none is named.

        Raises:
            DeviceError: `bad-config` when it can't be read, is empty or too long, or when others can read its file.
        """
        found = self._of_file(self.file) if self.file is not None else os.environ.get(self.variable, "").strip()
        if (self.file is not None or self.variable) and not found:
            where = f"file {self.file}" if self.file is not None else f"variable ${self.variable}"
            raise _bad(self.whose, f"its secret's {where} is empty", "Write the secret into it.")
        return found

    def _of_file(self, file: Path) -> str:
        try:
            with file.open("rb") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                data = opened.read(_MAX_SECRET + 1)
            if not stat.S_ISREG(mode):
                raise ValueError("it is no file")
            if len(data) > _MAX_SECRET:
                raise ValueError(f"it has more than {_MAX_SECRET} bytes")
            text = data.decode().strip()
        except (OSError, ValueError) as error:
            raise _bad(
                self.whose, f"its secret in {file} cannot be read: {error}", "Name another secret_file."
            ) from error
        if mode & 0o077:
            raise _bad(self.whose, f"others can read its secret in {file}", f"chmod 600 {file}")
        return text


def receivers_of(settings: Sequence[AnyReceiver], folder: Path) -> list[Receiver]:
    """The receivers of a site.

    Args:
        settings: as its file says.
        folder: the site's, from which their files are named.

    Raises:
        DeviceError: `bad-config`, naming the receiver and what is wrong.
    """
    made: list[Receiver] = []
    for one in settings:
        if one.name in {other.name for other in made}:
            raise _bad(one.name, "there are two of this name", "Give each a name of its own.")
        unknown = sorted(set(one.codes) - KINDS.keys())
        if unknown:
            raise _bad(
                one.name, f"no alert has the code {unknown[0]!r}", f"There are: {', '.join(sorted(KINDS))}."
            )
        secret = _secret(one, folder)
        made.append(
            Receiver(one.name, _KINDS[type(one)], one.codes, one.timeout_s, _way(one, folder, secret), secret)
        )
    return made


_KINDS: dict[type[object], str] = {WebhookSettings: "webhook", NtfySettings: "ntfy", MailSettings: "mail"}


def _secret(one: ReceiverSettings, folder: Path) -> Secret:
    if one.secret_file and one.secret_env:
        raise _bad(one.name, "it has both a secret_file and a secret_env", "Name one of them.")
    secret = Secret(one.name, folder / one.secret_file if one.secret_file else None, one.secret_env)
    secret.read()
    return secret


def _way(one: AnyReceiver, folder: Path, secret: Secret) -> Channel:
    ca_file = folder / one.ca_file if one.ca_file else None
    if ca_file is not None and not ca_file.is_file():
        raise _bad(one.name, f"there is no ca_file {ca_file}", "Name a file of certificates in PEM.")
    has_secret = bool(secret.file or secret.variable)
    try:
        match one:
            case WebhookSettings():
                return Webhook.of(one, ca_file, secret.read())
            case NtfySettings():
                return Ntfy.of(one, ca_file, has_secret=has_secret)
            case MailSettings():
                return Mail.of(one, ca_file, has_secret=has_secret)
    except ValueError as error:
        raise _bad(one.name, str(error), "") from error


def _bad(name: str, what: str, hint: str) -> DeviceError:
    return DeviceError("bad-config", f"The receiver {name!r} of alerts in site.toml: {what}.", hint=hint)
