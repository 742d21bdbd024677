"""Start a rollout from its release: a form, what it would do, and only then the button that does it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import msgspec

from edgelift_contract.errors import ContractError
from edgelift_contract.replies import ErrorReply
from edgelift_fleet.console.kinds import ConsolePage, Form, FormOrder, PageAsked
from edgelift_fleet.console.pages.release_page import name_of, path_of
from edgelift_fleet.console.pages.start_fields import request_of, typed
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import RolloutPreview
from edgelift_fleet.people.roles import rank
from edgelift_fleet.registry import get_release_row

#: Devices that a line names.
_NAMED = 5


class AsideLine(msgspec.Struct, frozen=True):
    """Devices of which something is to be known before it begins: what, the first of them, and how many more there are."""

    word: str
    what: str
    number: int
    first: list[str]
    more: int


class StartPage(msgspec.Struct, frozen=True):
    """What a rollout would do.

    Attributes:
        release, path: whose, and its page.
        typed: what stands in the fields.
        preview: None before anything was asked, and where it can't be understood.
        problem: why it can't.
        asides: of the preview: who is offline, unsuited, elsewhere.
        reached: devices that would get it.
        may_start: the dry run has no refusals, and whoever looks may start it.
        may_change: are they let start anything?
        key: tells a form that is sent twice from two forms.
    """

    release: str
    path: str
    typed: dict[str, str]
    preview: RolloutPreview | None
    problem: ErrorReply | None
    asides: list[AsideLine]
    reached: int
    may_start: bool
    may_change: bool
    key: str


def read_start(fleet: Fleet, asked: PageAsked) -> StartPage:
    """Read it; nothing is changed. Raises ContractError `bad-id`, `not-found` (the release)."""
    release, fields = name_of(asked.named), typed(asked.query)
    with fleet.db.read() as session:
        get_release_row(session, release)
    found, problem = None, None
    if "to" in asked.query:
        try:
            found = fleet.rollouts.preview(request_of(release, fields))
        except ContractError as error:
            problem = ErrorReply(error.message, error.code, error.hint)
    may = rank(asked.who.role) >= rank("operator")
    reached = sum(wave.devices for wave in found.waves) if found else 0
    return StartPage(
        release, path_of(asked.named), fields, found, problem, asides_of(found) if found else [], reached,
        may and found is not None and not found.refusals and reached > 0, may, uuid.uuid4().hex,
    )  # fmt: skip


def asides_of(found: RolloutPreview) -> list[AsideLine]:
    """What is to be known of some of the devices. Pure."""
    lines = [
        _aside("offline", "not there now: they get it once they are back", found.offline),
        _aside("serving", "run it already: they fetch nothing", found.running),
        _aside("none", "selected by an id that no device has", found.unknown),
        _aside(
            "held", "in another rollout of the same slot",
            [f"{device} ({rollout})" for device, rollout in sorted(found.elsewhere.items())],
        ),
        _aside("refused", "ran a newer release, and refuse an older one", found.older),
    ]  # fmt: skip
    reasons: dict[str, list[str]] = {}
    for one in found.unsuited:
        reasons.setdefault(one.message, []).append(one.device)
    lines += [
        _aside("unsuited", f"left out: {reason.rstrip('.')}", devices) for reason, devices in reasons.items()
    ]
    return [line for line in lines if line.number]


def _aside(word: str, what: str, devices: Sequence[str]) -> AsideLine:
    return AsideLine(word, what, len(devices), list(devices[:_NAMED]), max(0, len(devices) - _NAMED))


def _start(named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    request = request_of(name_of(named), typed(fields), fields.get("why", "").strip())
    return FormOrder("POST", "/v1/rollouts", request, "/rollouts/{id}")


_AT = "/releases/{name}/{version}/start"
PAGES = (ConsolePage(_AT, "start.html", read_start),)
FORMS = (Form(_AT, _start),)
