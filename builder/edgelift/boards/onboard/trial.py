"""A new agent is on trial until it is healthy; else the one before is started again, also after a power cut in between.

The state's database needs nothing: an agent writes it in the form that it found until it has shown that it works.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from . import versions
from .said import Place, Stopped, say
from .service import Service


@dataclass(frozen=True)
class AgentTrial:
    """What is tried.

    Attributes:
        new, old: names of versions; no old one with the first.
        slots: slot → artifact, as the old one served.
        within_s: how long the new one has to serve them, seconds.
    """

    new: str
    old: str
    slots: Mapping[str, str]
    within_s: float


def begin(place: Place, trial: AgentTrial) -> None:
    """Write it down, then make the new agent current: whatever happens from here on, `judge` knows the way back."""
    part = place.trial.with_name("trial.json.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(asdict(trial), file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(place.trial)
    versions.switch(place, trial.new)


def under_way(place: Place) -> AgentTrial | None:
    """The trial that stands; None when there is none."""
    try:
        found = json.loads(place.trial.read_text(encoding="utf-8"))
        return AgentTrial(str(found["new"]), str(found["old"]), dict(found["slots"]), float(found["within_s"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Stopped(f"{place.trial} is not understood: {error}. Remove it, and run install.sh again.") from error


def judge(place: Place, service: Service, trial: AgentTrial) -> None:
    """Wait for the new agent to be healthy, else bring the old one back.

    Raises:
        Stopped: it was not healthy; the old one runs again.
    """
    if service.becomes_healthy(trial.slots, trial.within_s):
        end(place, trial.new, trial.old)
        return
    words = service.last_words()
    if not trial.old:
        end(place, trial.new, "")
        raise Stopped(f"The agent does not run yet. Its last words:\n{words}")
    say(f"{trial.new} is not healthy; {trial.old} is started again. Its last words:\n{words}")
    versions.switch(place, trial.old)
    back = service.restart()
    end(place, trial.old, trial.new)
    raise Stopped(
        f"{trial.new} was not healthy within {trial.within_s:.0f} s, so {trial.old}"
        f" {'runs' if back else 'was started'} again."
        " Its records and models are as they were."
    )


def end(place: Place, kept: str, other: str) -> None:
    """It is decided: both stay, whatever is older goes."""
    place.trial.unlink(missing_ok=True)
    versions.keep_only(place, *filter(None, (kept, other)))
