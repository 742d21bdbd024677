"""What a build says of targets that no machine of their class has timed."""

from __future__ import annotations

from edgelift_builder import targets
from edgelift_builder.report.report import BuildReport


def remarks(report: BuildReport) -> list[str]:
    """What order those targets have, and what this machine would measure instead."""
    mine = [c for c in report.candidates if c.shipped and c.unmeasured]
    away = sorted({c.target for c in mine})
    lines = []
    if away:
        lines.append(
            f"Latency for {', '.join(away)} is measured on the device: this machine is {report.measured_on}. "
            "Until then the order is the target's own, unmeasured."
        )
    timed = sorted({(c.target, c.hardware_class) for c in mine if c.p50_us is not None})
    lines += [
        f"Times for {name} are of this {report.measured_on} machine and say nothing of {other}: they rank nothing."
        for name, other in timed
    ]
    return lines + (_here(report) if timed else [])


def _here(report: BuildReport) -> list[str]:
    """Which targets are of this machine's own class; none where one of them was built for."""
    if any(c.hardware_class == report.measured_on for c in report.candidates):
        return []
    names = [f"-t {name}" for name in targets.of_class(report.measured_on)]
    return (
        [f"For devices of this machine's class add {' or '.join(names)}: that is measured here."] if names else []
    )
