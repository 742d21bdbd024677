"""Who may enter our own mosquitto: its password file, kept while it runs.

Letting somebody in takes a line in that file and a signal. A fleet enrols within moments, so one thread writes for all
who wait; and mosquitto forgets a signal that comes while it reads its files, so it is told once more after the last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from edgelift_contract.errors import DeviceError
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.mqtt.access import password_file, password_line

#: The file is written and read again at most so often, seconds.
_BETWEEN_S = 0.1
#: mosquitto is told once more so long after the last change, seconds.
_ONCE_MORE_S = 1.0
#: How long a device that floods stays out, seconds.
SHUT_OUT_S = 30.0


class Passwords:
    """The file, and who stands in it. Safe to use from several threads."""

    def __init__(self, path: Path, key: str, users: Iterable[str], *, tell: Callable[[], None]) -> None:
        """Bind.

        Args:
            path: of the file.
            key: from which passwords are derived.
            users: who may enter.
            tell: has mosquitto read the file again.
        """
        self._path, self._key, self._tell = path, key, tell
        self._lines = {user: password_line(key, user) for user in users}
        self._shut_out: dict[str, float] = {}
        self._changed = threading.Condition()
        self._change = self._written = 0
        self._failed: DeviceError | None = None
        self._told_at: float | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="broker-passwords", daemon=True)

    def start(self) -> None:
        """Begin to follow changes."""
        self._thread.start()

    def stop(self) -> None:
        """Follow them no longer."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(2)

    def admit(self, user: str) -> None:
        """Let a user in; one that is shut out stays so. Returns once mosquitto was told.

        Raises:
            DeviceError: `disk-full`, `disk-error`, `read-only`.
        """
        with self._changed:
            if user in self._shut_out:
                return
            if user not in self._lines:
                self._lines[user] = password_line(self._key, user)
                self._note()
            elif self._written == self._change:
                return
            wanted = self._change
            while self._written < wanted and self._failed is None and not self._stopping:
                self._changed.wait()
            if self._written < wanted and self._failed is not None:
                raise self._failed

    def shut_out(self, user: str) -> None:
        """Keep a user out for `SHUT_OUT_S`, and end its connection; returns at once."""
        with self._changed:
            if self._lines.pop(user, None) is not None:
                self._shut_out[user] = time.monotonic() + SHUT_OUT_S
                self._note()

    def tell_again(self) -> None:
        """Have mosquitto read the file once more, soon."""
        with self._changed:
            self._told_at = time.monotonic() - _ONCE_MORE_S
            self._changed.notify_all()

    def write(self) -> None:
        """Write the file as it should stand.

        Raises:
            DeviceError: `disk-full`, `disk-error`, `read-only`.
        """
        with self._changed:
            change, lines = self._change, list(self._lines.values())
        with disk_errors("the broker's password file"):
            write_atomically(self._path, password_file(lines), mode=0o600)
        with self._changed:
            self._written = max(self._written, change)

    def _note(self) -> None:
        self._change += 1
        self._failed = None
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not self._is_due():
                    self._changed.wait(0.2 if self._shut_out or self._told_at is not None else None)
                if self._stopping:
                    return
                again = self._written == self._change
            if again:
                self._told_at = None
                self._tell()
            else:
                self._follow()
                time.sleep(_BETWEEN_S)

    def _is_due(self) -> bool:
        now = time.monotonic()
        for user in [user for user, until in self._shut_out.items() if until <= now]:
            del self._shut_out[user]
            self._lines[user] = password_line(self._key, user)
            self._note()
        if self._written < self._change:
            return self._failed is None or now - (self._told_at or 0.0) > _ONCE_MORE_S
        return self._told_at is not None and now - self._told_at >= _ONCE_MORE_S

    def _follow(self) -> None:
        failed: DeviceError | None = None
        try:
            self.write()
            self._tell()
        except DeviceError as error:
            failed = error
        with self._changed:
            self._failed, self._told_at = failed, time.monotonic()
            self._changed.notify_all()
