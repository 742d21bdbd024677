"""Whom this device trusts: learned when it is enrolled, kept in its state folder, asked for each assignment.

The libraries that verify are loaded with the first assignment that is signed: a device that waits for one need not hold
them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelift_agent.ports import Committed, Opened
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.trust.freshness import DAY_S, Freshness
from edgelift_agent.trust.glance import Worth, worth
from edgelift_agent.trust.shown import shown
from edgelift_agent.trust.trusted import Trusted, TrustedFile, first
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import is_signed

if TYPE_CHECKING:
    from edgelift_agent.trust.verifier import Verifier

log = logging.getLogger(__name__)

#: Names in `Degraded`: the file; what came; the answer that doesn't; what a broker retains; whom to trust from now on.
PART, ASSIGNMENT_PART, FRESH_PART, BROKER_PART = "trust", "assignment", "freshness", "assignment over MQTT"
ROOTS_PART = "roots"
FILE = "trust.json"


class Trust:
    """The device's trust; safe to use from several threads."""

    def __init__(
        self, state_dir: Path, disk: Disk, clock: Clock, degraded: Degraded, device: str,
        facts: Callable[[], DeviceFacts], committed: Callable[[], Committed],
    ) -> None:  # fmt: skip
        """Read what is trusted; what can't be read is said, and then nothing is taken until it can."""
        self._path, self._disk, self._clock, self._degraded = state_dir / FILE, disk, clock, degraded
        self._device, self._facts, self._committed = device, facts, committed
        self._file: TrustedFile | None = None
        self._verifier: Verifier | None = None
        self._freshness = Freshness(clock, 0.0)
        self._by_report = False
        self._roots_due = 0.0
        self._open()

    def _open(self) -> bool:
        try:
            self._file = TrustedFile(self._path, self._disk)
        except DeviceError as error:
            self._degraded.begin(PART, error.code, str(error))
            return False
        if self._file.content is not None:
            self._freshness = Freshness(self._clock, self._file.content.heard_at)
        return True

    @property
    def _content(self) -> Trusted | None:
        return self._file.content if self._file is not None else None

    @property
    def nonce(self) -> str:
        """What the control plane is to sign into its next answer; empty while nobody is trusted yet."""
        return self._content.nonce if self._content is not None else ""

    def must_be_signed(self) -> bool:
        """Is nothing taken that isn't signed? (Also where whom to trust can't be read.) Who needs it asks for it."""
        if self._file is not None and self._file.content is None:
            return False
        self._freshness.want()
        return True

    def wants_roots(self) -> bool:
        """Is it time to ask whether the control plane signs by now? Once a day, for as long as nobody is trusted."""
        now = self._clock.monotonic()
        due, untrusting = self._roots_due, self._file is not None and self._file.content is None
        if not untrusting or now < due:
            return False
        self._roots_due = now + DAY_S * random.uniform(0.8, 1.0)  # noqa: S311 - spreading load, not guarding a secret
        return due > 0  # the first time is the enrolment

    @property
    def floor(self) -> float:
        """A time that it can't be earlier than, as was signed last; seconds since 1970, 0 where nobody signed any."""
        content = self._file.content if self._file is not None else None
        return content.floor if content is not None else 0.0

    def learn(self, roots: Mapping[str, str]) -> None:
        """Trust these roots from now on, where nobody is trusted yet; later ones must follow from them.

        Roots that are none are said, and nothing is learnt. A disk that doesn't take them is said: they count in memory,
        and are written as soon as it does.
        """
        if self._file is None or self._file.content is not None or not roots:
            return
        from edgelift_agent.trust.verifier import check_roots  # late: some 9 MB

        try:
            begun = first(roots)
            check_roots(begun)
        except EdgeliftError as error:
            self._degraded.begin(ROOTS_PART, error.code, f"The control plane's roots can't be trusted: {error}")
            return
        self._degraded.end(ROOTS_PART)
        try:
            self._file.hold(begun)
        except DeviceError as error:
            self._degraded.begin(PART, error.code, str(error))
        self._freshness = Freshness(self._clock, 0.0)
        log.warning("from now on only what is signed is taken: the control plane's roots are trusted")

    def open(self, data: bytes, *, asked: bool = True) -> Opened:
        """The assignment in what came, once it holds; see `Verifier.open`.

        Raises:
            ContractError: `not-signed` for an assignment that nobody signed, once somebody is trusted; as `Verifier.open`.
            TransportError, DeviceError: as there; `state-damaged` when what is trusted can't be read.
        """
        try:
            opened = self._opened(data, asked=asked)
        except EdgeliftError as error:
            self._degraded.begin(ASSIGNMENT_PART, error.code, f"An assignment was refused: {error}")
            raise
        self._degraded.end(ASSIGNMENT_PART)
        return opened

    def carried(self, data: bytes) -> Opened:
        """The same of what a person brought here, which answers no question. A refusal is told to that person, and is no
        trouble of the device.

        Raises as `open`; also `not-signed` where nobody is trusted: what is carried could be anybody's.
        """
        if not is_signed(data):
            raise ContractError("not-signed", "What is in the folder is not signed.")
        opened = self._opened(data, asked=False)
        self._degraded.end(ASSIGNMENT_PART)
        return opened

    def _opened(self, data: bytes, *, asked: bool) -> Opened:
        if self._file is None:
            raise DeviceError("state-damaged", f"{self._path} can't be read: nothing can be trusted.")
        if self._file.content is None:
            if is_signed(data):
                raise ContractError("not-signed", "This device trusts nobody yet.", hint="Enrol it again.")
            return Opened(data, {})
        if not is_signed(data):
            raise ContractError(
                "not-signed", "The assignment is not signed; this device takes none that isn't.",
                hint="Look who answers in the control plane's place.",
            )  # fmt: skip
        if self._verifier is None:
            from edgelift_agent.trust.verifier import Verifier  # late: some 9 MB

            self._verifier = Verifier(self._file, self._clock, self._device, self._facts, self._committed)
        opened = self._verifier.open(data, asked=asked)
        if opened.fresh:
            self._by_report = False
            self._freshness.heard()
            self._degraded.end(FRESH_PART)
        return Opened(opened.assignment, opened.signed)

    def worth(self, data: bytes, held: str, limit_bytes: int) -> Worth:
        """What to do about what a broker retains; see `glance`."""
        if self._content is None:
            return "open"
        nonce = self._content.nonce
        found = worth(data, device=self._device, held=held, nonce=nonce, limit_bytes=limit_bytes)
        if found == "known":
            self._degraded.end(ASSIGNMENT_PART)  # what was refused there is not there any more
        return found

    def told(self, nonce: str) -> None:
        """The control plane has heard of this nonce."""
        if self._verifier is not None:
            self._verifier.told_nonce(nonce)

    def asks_anew(self) -> bool:
        """Is a fresh signature to be asked for, though nothing may have changed? Who asks this asks it."""
        if self._content is None or not self._freshness.is_due():
            return False
        self._freshness.asked()
        return True

    def ask_by_report(self) -> None:
        """HTTP could not be asked: reports say that a fresh signature is wanted."""
        self._by_report = True

    @property
    def asks_by_report(self) -> bool:
        """Do reports ask for a fresh signature? Until one came."""
        return self._by_report

    def rang_in_vain(self, error: EdgeliftError) -> None:
        """A broker retains what is unsigned or too large for it, and HTTP could not be asked for what it stands for."""
        self._degraded.begin(
            BROKER_PART, error.code,
            f"What the broker retains for this device is not signed, or too large, and HTTP can't be asked: {error}",
        )  # fmt: skip

    def answered(self) -> None:
        """HTTP could be asked."""
        self._degraded.end(BROKER_PART)

    def shown(self) -> dict[str, Any]:
        """For people; see `trust.shown`."""
        return shown(self._content)

    def look_again(self) -> None:
        """Mend what can be: a file that could not be read or written, or was taken away. Tell of answers that don't come."""
        if self._file is None:
            if self._open():
                self._degraded.end(PART)
            return
        self._look_at_freshness()
        try:
            self._file.mend()
        except DeviceError as error:
            self._degraded.begin(PART, error.code, str(error))
        else:
            self._degraded.end(PART)

    def _look_at_freshness(self) -> None:
        stale_s = self._freshness.stale_s()
        if stale_s is None:
            return
        self._degraded.begin(
            FRESH_PART, "not-fresh",
            f"No fresh signature came for {stale_s / DAY_S:.0f} days though it was asked for: the control plane can't sign,"
            " or somebody on the way holds back what it says. What serves goes on.",
        )  # fmt: skip
