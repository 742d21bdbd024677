"""The alerts of one site, as people and the server ask for them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from edgelift_contract.errors import ContractError
from edgelift_fleet.alerts.receivers import Receiver, receivers_of
from edgelift_fleet.alerts.rounds import Around, Rounds
from edgelift_fleet.alerts.silences import list_silences, silence, unsilence
from edgelift_fleet.alerts.standing import standing_alerts
from edgelift_fleet.alerts.undelivered import Undelivered, undelivered
from edgelift_fleet.conditions import Conditions
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.lead import Lead
from edgelift_fleet.messages.alerts import (
    AlertMessage,
    AlertView,
    ReceiverAnswer,
    ReceiverView,
    SilenceRequest,
    SilenceView,
)
from edgelift_fleet.site import Site
from edgelift_fleet.tables import AlertDeliveryRow


class Alerts:
    """Of one site.

    Attributes:
        url: where devices call this server: for links, unless `site.toml` says where people look.
    """

    def __init__(
        self, site: Site, db: Database, lead: Lead, seen: LastSeen, signatures: Callable[[], Sequence[str]],
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._site, self._db, self._lead, self._seen = site, db, lead, seen
        self._signatures, self._now = signatures, now
        self._receivers: list[Receiver] | None = None
        self.url = ""

    @property
    def receivers(self) -> list[Receiver]:
        """Who is told. Raises DeviceError `bad-config`."""
        if self._receivers is None:
            self._receivers = receivers_of(self._site.config.alerts.receivers, self._site.folder)
        return self._receivers

    def rounds(self) -> Rounds:
        """What looks at the fleet while a server runs. Raises DeviceError `bad-config`."""
        around = Around(self._db, self._lead, self._seen, self._site.config.name, self.link, self._signatures)
        return Rounds(around, self._site.config.alerts, self.receivers)

    def link(self) -> str:
        """Where people look; empty for nowhere."""
        return (self._site.config.alerts.link or self.url).rstrip("/")

    def standing(self) -> list[AlertView]:
        """The alerts that stand now; see `standing_alerts`."""
        with self._db.read() as session:
            return standing_alerts(session, self._now(), link=self.link())

    def undelivered(self) -> list[Undelivered]:
        """What receivers have not taken of alerts; see `undelivered`."""
        with self._db.read() as session:
            return undelivered(session)

    def silences(self) -> list[SilenceView]:
        """All silences that are kept, the newest first."""
        with self._db.read() as session:
            return list_silences(session, self._now())

    def silence(self, wanted: SilenceRequest, who: str, on: Conditions) -> SilenceView:
        """Begin a silence, as `silence`, and what `on` refuses."""
        with self._db.write(SITE) as session:
            on.begin(session)
            made = silence(session, wanted, who, self._now())
            on.end(session, made)
        return made

    def unsilence(self, name: str) -> SilenceView:
        """End a silence. Raises ContractError `not-found`."""
        with self._db.write(SITE) as session:
            return unsilence(session, name, self._now())

    def told(self) -> list[ReceiverView]:
        """The receivers, and what waits for each. Raises DeviceError `bad-config`."""
        row = AlertDeliveryRow
        waiting: dict[str, int] = {}
        given_up: dict[str, int] = {}
        errors: dict[str, str] = {}
        with self._db.read() as session:
            query = sa.select(row.receiver, row.given_up_at, row.error).order_by(row.made_at)
            for name, given_up_at, error in session.execute(query):
                counts = given_up if given_up_at else waiting
                counts[name] = counts.get(name, 0) + 1
                if error:
                    errors[name] = error
        return [
            ReceiverView(
                one.name, one.kind, one.way.where, list(one.codes), waiting.get(one.name, 0), given_up.get(one.name, 0),
                errors.get(one.name, ""),
            )
            for one in self.receivers
        ]  # fmt: skip

    def test(self, name: str) -> ReceiverAnswer:
        """Send a real message to one receiver, now, and say what it answered.

        Raises:
            ContractError: `not-found`. DeviceError: `bad-config`.
        """
        receiver = next((one for one in self.receivers if one.name == name), None)
        if receiver is None:
            known = ", ".join(one.name for one in self.receivers)
            hint = (
                f"There are: {known}." if known else "site.toml names none: [[alerts.receivers]], docs/alerts.md."
            )
            raise ContractError("not-found", f"There is no receiver {name[:40]!r}.", hint=hint)
        now = self._now()
        answer = receiver.send(
            AlertMessage(
                id=f"test-{secrets.token_hex(12)}", event="test", code="test", severity="notice",
                site=self._site.config.name, what="This is a test of edgelift's alerts: nothing is wrong.",
                where=f"The receiver {name}", since=now, todo="Nothing.", count=1, at=now, link=self.link(),
            )
        )  # fmt: skip
        return ReceiverAnswer(name, answer.taken, answer.said)
