"""People and tokens: who may come in, as what, until when; and the tokens by which boards come."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from edgelift_contract.errors import ContractError
from edgelift_fleet.console.kinds import ConsolePage, Form, FormOrder, PageAsked, number
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.identity import TokenRequest, TokenView
from edgelift_fleet.messages.people import AccessRequest, AccessView, PersonRequest, PersonView, RoleRequest
from edgelift_fleet.people.roles import ROLES, Role

HERE = "/people"
_SECRET = "secret.html"  # noqa: S105 - a template's name


class PeoplePage(msgspec.Struct, frozen=True):
    """People by name, access tokens and enrolment tokens newest first, without their secrets."""

    people: list[PersonView]
    access: list[AccessView]
    tokens: list[TokenView]
    roles: list[str]


def read_people(fleet: Fleet, _asked: PageAsked) -> PeoplePage:
    """Read it."""
    return PeoplePage(fleet.people.everybody(), fleet.people.access(), fleet.identities.tokens(), list(ROLES))


def add_person(_named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    """A person is added. Pure; raises ContractError `malformed`."""
    asked = PersonRequest(fields.get("name", "").strip(), _role(fields), fields.get("password", ""))
    return FormOrder("POST", "/v1/people", asked, HERE)


def order_person(named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    """A person gets another role, is shut out, let in or removed. Pure; raises ContractError `malformed`."""
    path = f"/v1/people/{quote(named['person'], safe='')}"
    doing = named["doing"]
    if doing == "role":
        return FormOrder("POST", f"{path}/role", RoleRequest(_role(fields)), HERE)
    if doing == "remove":
        return FormOrder("DELETE", path, None, HERE)
    if doing in ("disable", "enable"):
        return FormOrder("POST", f"{path}/{doing}", None, HERE)
    raise ContractError("not-found", f"Nothing is called {doing[:40]!r} here.")


def make_access(_named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    """A token for a program is made; its secret is shown this once. Pure; raises ContractError `malformed`."""
    asked = AccessRequest(_role(fields), number(fields, "days", 90.0), fields.get("note", "").strip())
    return FormOrder("POST", "/v1/access-tokens", asked, HERE, _SECRET)


def revoke_access(named: Mapping[str, str], _fields: Mapping[str, str]) -> FormOrder:
    """An access token is taken back. Pure."""
    return FormOrder("DELETE", f"/v1/access-tokens/{quote(named['access'], safe='')}", None, HERE)


def make_token(_named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    """A token by which boards enrol is made; its secret is shown this once. Pure; raises ContractError `malformed`."""
    uses = number(fields, "uses", 1.0)
    if uses != int(uses):
        raise ContractError("malformed", f"{uses:g} boards are no whole number of boards.")
    asked = TokenRequest(
        int(uses), number(fields, "days", 1.0), tags_of(fields.get("tags", "")), fields.get("note", "").strip()
    )
    return FormOrder("POST", "/v1/tokens", asked, HERE, _SECRET)


def revoke_token(named: Mapping[str, str], _fields: Mapping[str, str]) -> FormOrder:
    """An enrolment token is taken back. Pure."""
    return FormOrder("DELETE", f"/v1/tokens/{quote(named['token'], safe='')}", None, HERE)


def tags_of(typed: str) -> dict[str, str]:
    """Tags as they are typed, `site=hall-2, floor=1`. Pure."""
    pairs = (one.partition("=") for one in typed.split(",") if one.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _role(fields: Mapping[str, str]) -> Role:
    given = fields.get("role", "")
    for role in ROLES:
        if role == given:
            return role
    raise ContractError("malformed", f"{given[:40]!r} is no role.", hint=f"They are {', '.join(ROLES)}.")


PAGES = (ConsolePage(HERE, "people.html", read_people, nav="People", least="admin"),)
FORMS = (
    Form("/people/add", add_person), Form("/people/by-name/{person}/{doing}", order_person),
    Form("/people/access/make", make_access), Form("/people/access/{access}/revoke", revoke_access),
    Form("/people/tokens/make", make_token), Form("/people/tokens/{token}/revoke", revoke_token),
)  # fmt: skip
