"""What a report says, as tests ask it."""

from edgelift_contract.report import Report


def is_committed(report: Report, version: str, slot: str = "toy") -> bool:
    """Did the slot's last update commit this version?"""
    found = report.slots.get(slot)
    update = found.update if found else None
    return update is not None and (update.version, update.outcome) == (version, "committed")
