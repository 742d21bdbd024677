"""Roles, each of which may do what the one before it may; and who a request comes from. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgelift_contract.errors import ContractError

Role = Literal["viewer", "operator", "admin"]
#: The least first.
ROLES: tuple[Role, ...] = get_args(Role)
#: Who shows the site's own token: whoever can read the site's folder owns it.
SITE_OWNER = "site"

_MAY = {"viewer": "reads", "operator": "reads and changes", "admin": "does everything"}


def rank(role: str) -> int:
    """How much a role may; -1 for none that is known, as of a row that a newer release wrote."""
    return ROLES.index(role) if role in ROLES else -1


def lesser(one: str, other: str) -> str:
    """Which of two roles may less."""
    return min(one, other, key=rank)


@dataclass(frozen=True)
class Principal:
    """Who a request comes from.

    Attributes:
        name: of a person; `token:ID` of a token that is nobody's; `site` of the site's own.
        role: what they may.
        how: by which they came: `site-token`, `login` or `access-token`.
        token: id of the access token; empty for the site's own.
        expires_at: until when it holds, seconds since 1970; 0 for ever.
        maker: of a token that is nobody's, who answers for it and for the tokens that it makes; of a person's, who has
            seen it beside them: another person, or a token; empty for none.
    """

    name: str
    role: str
    how: str
    token: str = ""
    expires_at: float = 0.0
    maker: str = ""

    def require(self, least: str) -> None:
        """Refuse whoever may less than `least`. Raises ContractError `role-too-low`."""
        if rank(self.role) < rank(least):
            raise ContractError(
                "role-too-low", f"This needs the role {least}; {self.name} is {_named(self.role)}.",
                hint=f"Ask somebody who {_MAY[least]} (edgelift user list), or have your role changed: edgelift user role.",
            )  # fmt: skip


def _named(role: str) -> str:
    return role if role in ROLES else f"{role!r}, which this release does not know"


OWNER = Principal(SITE_OWNER, "admin", "site-token")
