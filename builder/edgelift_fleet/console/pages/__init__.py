"""All pages of the console and all forms on them: each file is one page, and says so for itself."""

from edgelift_fleet.console.kinds import ConsolePage, Form
from edgelift_fleet.console.pages import (
    alerts_page,
    audit_page,
    device_page,
    fleet_page,
    people_page,
    release_page,
    releases_page,
    rollout_page,
    rollouts_page,
    start_page,
    system_page,
)

_FILES = (
    fleet_page, device_page, rollouts_page, rollout_page, releases_page, release_page, start_page, alerts_page,
    audit_page, people_page, system_page,
)  # fmt: skip
PAGES: tuple[ConsolePage, ...] = tuple(page for one in _FILES for page in one.PAGES)
FORMS: tuple[Form, ...] = tuple(form for one in _FILES for form in one.FORMS)
