"""The pre-shared token, read when it is first needed: a file that can't be read now costs the link, nothing else."""

from __future__ import annotations

import threading

from edgelift_agent.config import Config, check_token, read_token
from edgelift_agent.system.degraded import Degraded
from edgelift_contract.errors import DeviceError, TransportError

#: The part that suffers when no token can be read.
PART = "token"


class Token:
    """One device's token; safe to use from several threads. Once read it is kept, until the host refuses it."""

    def __init__(self, config: Config, degraded: Degraded, *, needed: bool = True) -> None:
        """No file is read yet; `needed`: this device has nothing else to be known by.

        Raises:
            DeviceError: `bad-config` when none is given, or what stands in the configuration is none.
        """
        if needed:
            check_token(config)
        self._config, self._degraded = config, degraded
        self._lock, self._value, self._to_read = threading.Lock(), "", True

    def __call__(self) -> str:
        """The token; the last known one where it can't be read again.

        Raises:
            TransportError: it can't be read now; the code and the sentence say why.
        """
        with self._lock:
            if self._to_read:
                try:
                    self._value, self._to_read = read_token(self._config), False
                except DeviceError as error:
                    self._degraded.begin(PART, error.code, str(error))
                    if not self._value:
                        raise TransportError(error.code, error.message, hint=error.hint) from error
                else:
                    self._degraded.end(PART)
            return self._value

    @property
    def known(self) -> str:
        """The token, if it has been read; no file is read for it."""
        return self._value

    def refused(self) -> None:
        """The host did not take it: its file may have been half written, or hold another one by now."""
        self._to_read = True
