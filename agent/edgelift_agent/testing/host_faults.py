"""What a `ToyHost` does wrong on request: plain fields, which the next transfers suffer from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Faults:
    """What goes wrong with blobs.

    Attributes:
        cut_at: end the connection after this many bytes of a response; 0 for never.
        cuts: how many responses to cut.
        tamper: digests whose first byte is changed on its way.
        status: answer every blob with this status; 0 for none.
        delay_s: wait before each 64 KB piece.
        held: let no piece go while this is true.
        no_ranges: ignore ranges.
        down: refuse everything with 503.
        bundle_cuts: end the connection in the middle of so many bundles that are brought.
        deaf: refuse so many reports and batches with 503, while assignments and blobs still come.
    """

    cut_at: int = 0
    cuts: int = 0
    tamper: set[str] = field(default_factory=set)
    status: int = 0
    delay_s: float = 0.0
    held: bool = False
    no_ranges: bool = False
    down: bool = False
    deaf: int = 0
    bundle_cuts: int = 0

    def cuts_bundle(self) -> bool:
        """Is this bundle cut? Counts it."""
        if self.bundle_cuts <= 0:
            return False
        self.bundle_cuts -= 1
        return True
