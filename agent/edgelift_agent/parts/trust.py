"""Whom this device trusts: learned when it is enrolled, kept in its state folder, asked for each assignment.

The libraries that verify are loaded with the first assignment that is signed: a device that waits for one need not hold
them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgelift_agent.system.clock import Clock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.trust.trusted import TrustedFile, first
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Genuine, is_signed

if TYPE_CHECKING:
    from edgelift_agent.trust.verifier import Verifier

log = logging.getLogger(__name__)

PART = "trust"
FILE = "trust.json"


class Trust:
    """The device's trust; safe to use from several threads."""

    def __init__(
        self, state_dir: Path, disk: Disk, clock: Clock, degraded: Degraded, device: str,
        facts: Callable[[], DeviceFacts], committed: Callable[[], tuple[Mapping[str, int], Mapping[str, str]]],
    ) -> None:  # fmt: skip
        """Read what is trusted; what can't be read is said, and then nothing is taken until it can."""
        self._path, self._disk, self._clock, self._degraded = state_dir / FILE, disk, clock, degraded
        self._device, self._facts, self._committed = device, facts, committed
        self._file: TrustedFile | None = None
        self._verifier: Verifier | None = None
        self.signed: Mapping[str, Genuine] = {}
        self._open()

    def _open(self) -> bool:
        try:
            self._file = TrustedFile(self._path, self._disk)
        except DeviceError as error:
            self._degraded.begin(PART, error.code, str(error))
            return False
        return True

    @property
    def nonce(self) -> str:
        """What the control plane is to sign into its next answer; empty while nobody is trusted yet."""
        content = self._file.content if self._file is not None else None
        return content.nonce if content is not None else ""

    def learn(self, roots: Mapping[str, str]) -> None:
        """Trust these roots from now on, where nobody is trusted yet; later ones must follow from them.

        Raises:
            ContractError: `metadata-wrong`: one of the two is missing. DeviceError: the disk's.
        """
        if self._file is None or self._file.content is not None or not roots:
            return
        self._file.write(first(roots))
        log.warning("from now on only what is signed is taken: the control plane's roots are trusted")

    def open(self, data: bytes, *, asked: bool = True) -> bytes:
        """The assignment in what came, once it holds; see `Verifier.open`.

        Raises:
            ContractError: `not-signed` for an assignment that nobody signed, once somebody is trusted; as `Verifier.open`.
            TransportError, DeviceError: as there; `state-damaged` when what is trusted can't be read.
        """
        try:
            assignment = self._opened(data, asked=asked)
        except EdgeliftError as error:
            self._degraded.begin("assignment", error.code, f"An assignment was refused: {error}")
            raise
        self._degraded.end("assignment")
        return assignment

    def carried(self, data: bytes) -> bytes:
        """The same of what a person brought here, which answers no question. A refusal is told to that person, and is no
        trouble of the device.

        Raises as `open`; also `not-signed` where nobody is trusted: what is carried could be anybody's.
        """
        if not is_signed(data):
            raise ContractError("not-signed", "What is in the folder is not signed.")
        assignment = self._opened(data, asked=False)
        self._degraded.end("assignment")
        return assignment

    def _opened(self, data: bytes, *, asked: bool) -> bytes:
        if self._file is None:
            raise DeviceError("state-damaged", f"{self._path} can't be read: nothing can be trusted.")
        if self._file.content is None:
            if is_signed(data):
                raise ContractError("not-signed", "This device trusts nobody yet.", hint="Enrol it again.")
            return data
        if not is_signed(data):
            raise ContractError(
                "not-signed", "The assignment is not signed; this device takes none that isn't.",
                hint="Look who answers in the control plane's place.",
            )  # fmt: skip
        if self._verifier is None:
            from edgelift_agent.trust.verifier import Verifier  # late: some 9 MB

            self._verifier = Verifier(self._file, self._clock, self._device, self._facts, self._committed)
        opened = self._verifier.open(data, asked=asked)
        self.signed = opened.signed
        return opened.assignment

    def told(self, nonce: str) -> None:
        """The control plane has heard of this nonce."""
        if self._verifier is not None:
            self._verifier.told_nonce(nonce)

    def look_again(self) -> None:
        """Mend what can be: a file that could not be read, or was taken away."""
        if self._file is None:
            if self._open():
                self._degraded.end(PART)
            return
        try:
            self._file.mend()
        except DeviceError as error:
            self._degraded.begin(PART, error.code, str(error))
        else:
            self._degraded.end(PART)
