"""To which releases devices may go back that have run a higher release counter: what the builders signed of that."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.signed import IMAGE
from edgelift_fleet.tables import SignedRow
from edgelift_fleet.trust.image import Image, goes_back
from edgelift_fleet.trust.store import has_trust


def may_go_back_to(session: Session, model: str, artifacts: Collection[str]) -> bool | None:
    """Do the builders let devices go back to all of these artifacts of a model? None where this site signs nothing."""
    if not has_trust(session):
        return None
    bins = sa.select(SignedRow.role, SignedRow.body).where(
        SignedRow.repository == IMAGE, SignedRow.role.in_(Image.bin_names(model))
    )
    listed = Image.load({role: body.encode() for role, body in session.execute(bins)})
    allowed = {
        path.rpartition("/")[2]
        for metadata in listed.roles.values()
        for path, target in metadata.signed.targets.items()
        if goes_back(target)
    }
    return allowed.issuperset(artifacts)
