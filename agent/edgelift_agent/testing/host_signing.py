"""What the toy host knows of signatures: whom devices are to trust, and what each asks to have signed.

It signs nothing itself: whoever wants that replaces `ToyHost.poll_body`.
"""

from __future__ import annotations

from collections import Counter
from email.message import Message

from edgelift_contract.signed import NONCE_HEADER, SIGNED_MEDIA, is_signed


class ToySigning:
    """See the module.

    Attributes:
        roots: given at enrolment.
        nonces: device → what it asked last to have signed.
        asked_anew: how often each asked for its assignment as if it had none.
    """

    def __init__(self) -> None:
        self.roots: dict[str, str] = {}
        self.nonces: dict[str, str] = {}
        self.asked_anew: Counter[str] = Counter()

    def hear(self, device: str, headers: Message) -> None:
        """A poll came."""
        self.nonces[device] = headers.get(NONCE_HEADER, "")
        self.asked_anew[device] += not headers.get("If-None-Match", "")


def media_of(body: bytes) -> str:
    """What an answer to a poll calls itself."""
    return SIGNED_MEDIA if is_signed(body) else "application/json"
