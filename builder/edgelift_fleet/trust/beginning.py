"""A site's trust begins: both repositories get their first root, signed by whoever holds the root keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from securesystemslib.signer import CryptoSigner
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_contract.signed import DIRECTOR, IMAGE
from edgelift_fleet.trust.director import first_root
from edgelift_fleet.trust.image import Holders, Image, Listed
from edgelift_fleet.trust.online import freshen
from edgelift_fleet.trust.store import Stored, has_trust, put


def begin_trust(
    session: Session, root: Holders, builder: Holders, signers: Sequence[CryptoSigner], online: CryptoSigner, now: float,
    published: Iterable[Listed] = (),
) -> None:  # fmt: skip
    """Sign and store the first metadata of both repositories. Inside a write transaction.

    Args:
        session: of the transaction.
        root: who may change who may sign, and how many of them it takes.
        builder: who may list artifacts as genuine, likewise.
        signers: those of both who sign now; as many as it takes.
        online: the control plane's own.
        now: seconds since 1970.
        published: artifacts that are published already, which are listed in the same step.

    Raises:
        ContractError: `conflict` when the site signs already, `not-signed` when more must sign.
    """
    if has_trust(session):
        raise ContractError(
            "conflict", "The site signs already.", hint="Change its keys with: edgelift keys rotate."
        )
    image = Image.begin(root, builder, online.public_key, now)
    image.list_release(published, now)
    image.sign(signers)
    if lacking := image.lacking():
        raise ContractError("not-signed", f"More holders must sign {', '.join(lacking)}.")
    put(session, IMAGE, {role: Stored(1, data) for role, data in image.files().items()})
    top = first_root(root, online.public_key, now)
    for signer in signers:
        if signer.public_key.keyid in top.signed.roles["root"].keyids:
            top.sign(signer, append=True)
    put(session, DIRECTOR, {"root": Stored(1, top.to_bytes())})
    freshen(session, online, now=now)
