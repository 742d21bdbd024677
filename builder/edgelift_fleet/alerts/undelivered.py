"""What was said of alerts and is not with its receiver yet."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.alerts.kinds import KINDS
from edgelift_fleet.messages.alerts import AlertMessage
from edgelift_fleet.tables import AlertDeliveryRow

#: Messages that are looked through: the newest.
MAX_READ = 500


class Undelivered(msgspec.Struct, frozen=True):
    """The newest message of one alert that a receiver has not taken.

    Attributes:
        code, about: the alert, as of `AlertView`.
        made_at: when it was said, seconds since 1970.
        receiver: who lacks it.
        tries: how often it was tried; `error`: what came of the last one.
        next_at: when it is tried again, `given_up_at`: when it was given up; seconds since 1970, 0 for neither.
    """

    code: str
    about: str
    made_at: float
    receiver: str
    tries: int
    error: str
    next_at: float
    given_up_at: float


def undelivered(session: Session) -> list[Undelivered]:
    """Of each alert and receiver the newest, by receiver."""
    row = AlertDeliveryRow
    query = sa.select(row.receiver, row.body, row.made_at, row.tries, row.error, row.next_at, row.given_up_at)
    found: dict[tuple[str, str, str], Undelivered] = {}
    for receiver, body, made_at, tries, error, next_at, given_up_at in session.execute(
        query.order_by(row.made_at.desc(), row.id).limit(MAX_READ)
    ):
        try:
            said = msgspec.json.decode(body, type=AlertMessage)
        except msgspec.MsgspecError:
            continue  # it is given up by who sends
        kind = KINDS.get(said.code)
        if kind is None or said.event == "ended":
            continue
        about = "" if kind.about == "device" else (said.subjects or [""])[0]
        key = (receiver, said.code, about)
        if key not in found:
            again_at = 0.0 if given_up_at else next_at
            found[key] = Undelivered(said.code, about, made_at, receiver, tries, error, again_at, given_up_at)
    return sorted(found.values(), key=lambda one: (one.receiver, one.code, one.about))
