"""Which failed devices are asked again, and when. Pure.

Whether a failure passes is decided by its code's root (`edgelift_contract.errors`): a link's failure may be gone an
hour later, and an update that a power cut interrupted is worth another try; what is wrong with the artifact or
impossible on the machine stays so.
"""

from __future__ import annotations

from edgelift_contract.errors import PASSING
from edgelift_fleet.rollout.plan import Plan

#: Longest wait before a device is asked again, seconds: a day.
_LONGEST_S = 86400.0


def retry_at(plan: Plan, code: str, tried: int, failed_at: float) -> float | None:
    """When a failed device is to be asked again; None for never.

    Args:
        plan: how often, and after how long.
        code: why it failed.
        tried: how often it was asked again already.
        failed_at: when it was seen to have failed, seconds since 1970.
    """
    if code not in PASSING or tried >= plan.retries:
        return None
    return failed_at + min(plan.retry_after_s * 2.0**tried, _LONGEST_S)
