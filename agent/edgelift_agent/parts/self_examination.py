"""What the running agent sees from where it stands: its token, its groups, its devices, its board's readings.

`doctor` asks for it over the admin socket: a person at a terminal is another user, in other groups, without the
unit's credentials and its device list, and would see another machine.
"""

from __future__ import annotations

from typing import Any

from edgelift_agent.config import Config
from edgelift_agent.identity.identity import DeviceIdentity
from edgelift_agent.link.token import Token
from edgelift_agent.link.trial import try_host
from edgelift_agent.parts.this_machine import ThisMachine
from edgelift_agent.system.access import group_names, refused_devices, user_name
from edgelift_agent.system.command import why_not
from edgelift_agent.system.degraded import Degraded


def examine_self(
    config: Config, token: Token, machine: ThisMachine, degraded: Degraded, identity: DeviceIdentity
) -> dict[str, Any]:
    """JSON for `GET /doctor`; asks the host once, so it may take some seconds."""
    facts = machine.facts()
    return {
        "user": user_name(),
        "groups": group_names(),
        "refused_devices": refused_devices(),
        "runtimes": facts.runtimes,
        "disk_free_bytes": facts.disk_free_bytes,
        "readings": machine.health.gauges(),
        "host": try_host(config, token, identity.way),
        "degraded": degraded.reasons(),
        "own_check_refused": why_not(config.update.check[0]) if config.update.check else "",
    }
