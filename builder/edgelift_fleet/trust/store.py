"""Where signed metadata is kept: in the database, so that all servers of a site have it, and a backup too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_contract.signed import DIRECTOR, IMAGE
from edgelift_fleet.tables import SignedRow


@dataclass(frozen=True)
class Stored:
    """One role at one version."""

    version: int
    body: bytes


def has_trust(session: Session) -> bool:
    """Does this site sign what its devices are to run?"""
    return session.scalar(sa.select(sa.func.count()).select_from(SignedRow).filter_by(role="root")) != 0


def newest(session: Session, repository: str) -> dict[str, Stored]:
    """Role → its newest version; empty before there is any."""
    query = sa.select(SignedRow.role, SignedRow.version, SignedRow.body).filter_by(repository=repository)
    found: dict[str, Stored] = {}
    for role, version, body in session.execute(query.order_by(SignedRow.version)):
        found[role] = Stored(version, body.encode())
    return found


def version_of(session: Session, repository: str, role: str) -> int:
    """The newest version of a role; 0 for none."""
    query = sa.select(sa.func.max(SignedRow.version)).filter_by(repository=repository, role=role)
    return session.scalar(query) or 0


def roots(session: Session, repository: str) -> dict[int, bytes]:
    """All roots that there ever were, by version: a device goes from the one that it trusts to each next one."""
    query = sa.select(SignedRow.version, SignedRow.body).filter_by(repository=repository, role="root")
    return {version: body.encode() for version, body in session.execute(query.order_by(SignedRow.version))}


def unsigned() -> ContractError:
    """What is asked for needs keys, and the site has none."""
    return ContractError("not-found", "This site signs nothing.", hint="Let it begin to: edgelift keys begin.")


def first_roots(session: Session) -> dict[str, bytes]:
    """What a device that is enrolled now is to trust: the newest root of each repository.

    Raises:
        ContractError: `not-found` where this site doesn't sign.
    """
    found = {name: newest(session, name).get("root") for name in (DIRECTOR, IMAGE)}
    given = {name: stored.body for name, stored in found.items() if stored}
    if len(given) < len(found):
        raise unsigned()
    return given


def put(session: Session, repository: str, files: Mapping[str, Stored]) -> None:
    """Keep these roles; of all but roots, what was kept before goes. Inside a write transaction."""
    for role, stored in files.items():
        if role != "root":
            session.execute(sa.delete(SignedRow).filter_by(repository=repository, role=role))
        session.merge(
            SignedRow(repository=repository, role=role, version=stored.version, body=stored.body.decode())
        )
    session.flush()
