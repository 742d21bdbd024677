"""Looks at the fleet now and then, on the leader: judges, decides, keeps, and has people told. A thread of its own."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.decide import advance
from edgelift_fleet.alerts.judge import judge
from edgelift_fleet.alerts.keep import KeptAlerts, add_deliveries, bound_deliveries, read_kept, write_kept
from edgelift_fleet.alerts.reading import DeviceReader, look_at_fleet
from edgelift_fleet.alerts.receivers import Receiver
from edgelift_fleet.alerts.sender import Sender
from edgelift_fleet.alerts.silences import silenced
from edgelift_fleet.alerts.tell import tell
from edgelift_fleet.alerts.words import message_of
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.lead import Lead
from edgelift_fleet.messages.alerts import AlertMessage
from edgelift_fleet.rollout.hearing import Hearing

log = logging.getLogger(__name__)

#: How often what is kept of deliveries is bounded though nothing is told, seconds.
_BOUND_S = 600.0


@dataclass(frozen=True)
class Around:
    """What rounds need of the server.

    Attributes:
        db, lead, seen: the database, who acts, and when devices were heard of.
        site: name of the site.
        link: where people look now; empty for nowhere.
        signatures: what of the signed metadata ends soon.
    """

    db: Database
    lead: Lead
    seen: LastSeen
    site: str
    link: Callable[[], str]
    signatures: Callable[[], Sequence[str]]


class Rounds:
    """The thread, and one for each receiver, as a context."""

    def __init__(self, around: Around, rules: AlertSettings, receivers: Sequence[Receiver]) -> None:
        self._around, self._rules, self._receivers = around, rules, receivers
        self._senders = {one.name: Sender(one, around.db, around.lead) for one in receivers}
        self._reader, self._hearing, self._listening_since = DeviceReader(), Hearing(), 0.0
        self._led, self._bounded_at = False, float("-inf")
        self._stack, self._stopping = ExitStack(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def __enter__(self) -> Rounds:
        for sender in self._senders.values():
            self._stack.enter_context(sender)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for sender in self._senders.values():
            sender.__exit__()
        self._thread.join(3)

    def _run(self) -> None:
        while not self._stopping.wait(self._rules.every_s):
            try:
                if self._around.lead.leads:
                    self.look(time.time())
                else:
                    self._led = False
            except EdgeliftError as error:
                self._hearing.failed()
                log.warning("alerts wait code=%s %s", error.code, error.message)
            except Exception:
                log.exception("a fault in the alerts")  # the next look may find it mended

    def look(self, now: float) -> list[AlertMessage]:
        """One round at `now`, seconds since 1970.

        Returns:
            What people are told.

        Raises:
            EdgeliftError: the database's; `busy` when this server leads no more.
        """
        if self._hearing.looked(now) and self._led:
            self._listening_since = now  # boards had no chance to be heard: their silence counts anew
        self._led = True
        rules, around = self._rules, self._around
        names = [one.name for one in self._receivers]
        with around.db.read() as session:
            before = read_kept(session)
            listening_since = max(self._listening_since, around.seen.listening_since)
            found = look_at_fleet(
                session, self._reader, around.seen, names, around.signatures(), site=around.site,
                listening_since=listening_since, now=now,
            )  # fmt: skip
            standings = advance(before.standings, judge(found, rules, now), rules, now)
            hushed = silenced(session, standings, now)
        gone = [one for key, one in before.standings.items() if key not in standings]
        groups, tellings = tell(before.groups, standings.values(), hushed, rules, now, gone=gone)
        messages = [
            message_of(one, id=f"alert-{secrets.token_hex(12)}", site=around.site, link=around.link(), now=now)
            for one in tellings
        ]
        self._keep(before, KeptAlerts(standings, groups), messages, names, now)
        return messages

    def _keep(
        self,
        before: KeptAlerts,
        after: KeptAlerts,
        messages: Sequence[AlertMessage],
        names: Sequence[str],
        now: float,
    ) -> None:
        bounds = bool(messages) or abs(now - self._bounded_at) >= _BOUND_S
        if before == after and not bounds:
            return
        with self._around.lead.write(SITE) as session:
            write_kept(session, before, after)
            add_deliveries(
                session,
                [(one.name, said) for said in messages for one in self._receivers if one.wants(said.code)],
                now,
            )
            for name in bound_deliveries(session, names, now) if bounds else ():
                log.error("alerts were given up receiver=%s: too many waited", name)
        if bounds:
            self._bounded_at = now
        for said in messages:
            log.warning("alert %s code=%s id=%s: %s", said.event, said.code, said.id, said.what)
        if messages:
            for sender in self._senders.values():
                sender.work.set()
