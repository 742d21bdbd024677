"""How long a device leaves a host alone that answers slowly. Pure.

Devices that send their windows as soon as the last ones were taken keep a slow host busy with nothing else: the more of
them there are, the longer everything that matters waits, and the longer it waits, the more windows there are to send.
So after each batch telemetry rests for several times what its answer took, and what was measured meanwhile goes with
the next one. A host that answers at once notices nothing of it. Reports do not rest, nor does what waits from before.
"""

from __future__ import annotations

#: With a rest of four times the answer's time, a fifth of the devices at most wait for an answer at any time.
REST_TIMES = 4.0
#: However slow the answer was: a host that has recovered is told again within this time, seconds.
MOST_REST_S = 10.0


def rest_s(took_s: float) -> float:
    """For how long no telemetry is sent after a batch whose answer took `took_s`; both in seconds."""
    return min(REST_TIMES * max(took_s, 0.0), MOST_REST_S)
