"""Bundles on their way: the host asks, one is made and brought, and tried again while the host may still want it.

Asked from the doorbell's threads; made and sent on a thread of its own, which lives as long as there is one to bring.
What was brought or refused is not made again; what the link refuses is, later and later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from edgelift_agent.system.backoff import after
from edgelift_contract.bundle import is_bundle_id
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError

log = logging.getLogger(__name__)

#: How often one is tried: at delays of a minute that is half an hour; the host asks again with every poll.
TRIES = 40
#: One that could not be sent for so long is made afresh: it would not tell of what happened since, seconds.
STALE_S = 300.0
#: Bundles remembered as done; the host has one open at most.
_REMEMBERED = 16


class Bundles:
    """Brings bundles. `asked` and `heard` are for any thread.

    Attributes:
        heard: the last bundle that was asked for; the host is told, so that it need not say it again.
    """

    def __init__(
        self,
        make: Callable[[str], bytes],
        send: Callable[[str, bytes], None],
        retry_delays: Callable[[], Iterator[float]],
        on_brought: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Bind.

        Args:
            make: bundle's id → its bytes.
            send: brings it to the host.
            retry_delays: delays between tries, seconds.
            on_brought: told when the host has it.
        """
        self._make, self._send, self._retry_delays, self._on_brought = make, send, retry_delays, on_brought
        self._lock = threading.Lock()
        self._done: deque[str] = deque(maxlen=_REMEMBERED)
        self._running, self._stopping = False, threading.Event()
        self.heard = ""

    def asked(self, bundle: str) -> None:
        """The host wants this one; begins to bring it, but for one that is under way or done."""
        if not is_bundle_id(bundle):
            return
        with self._lock:
            self.heard = bundle
            if self._running or bundle in self._done or self._stopping.is_set():
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name="bundle", daemon=True).start()
        except RuntimeError as error:
            log.warning("no bundle is made: %s", error)  # no thread for it now
            with self._lock:
                self._running, self.heard = False, ""  # to be told again

    def stop(self) -> None:
        """End soon; what is under way is left to its daemon thread."""
        self._stopping.set()

    def _run(self) -> None:
        while (bundle := self._next()) is not None:
            done = True
            try:
                done = self._bring(bundle)
            except Exception:
                log.exception("a fault while a bundle was made")  # serving goes on, and so does the next one
            with self._lock:
                if done:
                    self._done.append(bundle)
                elif self.heard == bundle:
                    self.heard = ""  # the host says again that it is wanted, if it still is

    def _next(self) -> str | None:
        with self._lock:
            wanted = bool(self.heard) and self.heard not in self._done and not self._stopping.is_set()
            self._running = wanted
            return self.heard if wanted else None

    def _bring(self, bundle: str) -> bool:
        """Bring one; False when it was given up, so that it may be asked for again."""
        waits, made_at, data = self._retry_delays(), 0.0, b""
        for _ in range(TRIES):
            try:
                if not data or time.monotonic() - made_at > STALE_S:
                    data, made_at = self._made(bundle), time.monotonic()
                self._send(bundle, data)
            except ContractError as error:
                log.warning("a bundle was not taken code=%s %s", error.code, error)
                return True
            except EdgeliftError as error:
                pause_s = after(error, next(waits))
                log.warning("a bundle was not brought code=%s retry_in_s=%.1f %s", error.code, pause_s, error)
                if self._stopping.wait(pause_s) or self.heard != bundle:
                    return False
            else:
                log.info("brought the bundle bytes=%d", len(data))
                self._on_brought(bundle)
                return True
        return False

    def _made(self, bundle: str) -> bytes:
        try:
            return self._make(bundle)
        except MemoryError as error:
            raise DeviceError("no-memory", "There is no memory for a bundle now.") from error
