"""A device: what ails it, what it runs and will do next, how fast it answered, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from edgelift_contract.errors import ContractError
from edgelift_fleet.console.device.going_back import POLICY
from edgelift_fleet.console.device.reading import read_device
from edgelift_fleet.console.device.seen import DevicePage
from edgelift_fleet.console.kinds import ConsolePage, Form, FormOrder
from edgelift_fleet.messages import AssignRequest, BundleRequest


def go_back(named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    """Have a slot run the version before. Pure. Raises ContractError `malformed`."""
    _why(fields)
    wanted = AssignRequest(_needed(fields, "release"), _needed(fields, "slot"), POLICY)
    return FormOrder("POST", f"/v1/devices/{_segment(named)}/assign", wanted, _page_of(named))


def ask_for_bundle(named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    """Ask it for its logs. Pure. Raises ContractError `malformed`."""
    wanted = BundleRequest(why=_why(fields))
    return FormOrder("POST", f"/v1/devices/{_segment(named)}/bundles", wanted, f"{_page_of(named)}#logs")


def _needed(fields: Mapping[str, str], name: str) -> str:
    if not (found := fields.get(name, "").strip()):
        raise ContractError(
            "malformed", f"The field {name!r} is empty.", hint="Fill it in and send the form again."
        )
    return found


def _why(fields: Mapping[str, str]) -> str:
    return _needed(fields, "why")


def _segment(named: Mapping[str, str]) -> str:
    return quote(named["device"], safe="")


def _page_of(named: Mapping[str, str]) -> str:
    return f"/devices/{_segment(named)}"


def _is_lively(data: DevicePage) -> bool:
    return any(slot.staged for slot in data.slots)


PAGES = (ConsolePage("/devices/{device}", "device.html", read_device, within="/", lively=_is_lively),)
FORMS: tuple[Form, ...] = (
    Form("/devices/{device}/back", go_back),
    Form("/devices/{device}/bundles", ask_for_bundle),
)
