"""What each file of tests takes of the processors, told beside `--durations`: on two cores that bounds a whole run.

A test that waits leaves its core to others; what a run of three workers on two cores can't get back is processor time.
Counted are the worker and those of its children that have ended, each with the test during which they ended.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Generator
from operator import itemgetter

import pytest

_SHOWN = 30
_by_file: dict[str, float] = defaultdict(float)
_told_s = 0.0


def _spent_s() -> float:
    """Processor time of this process and its ended children so far, seconds."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def pytest_runtest_logstart() -> None:
    global _told_s
    _told_s = _spent_s()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    global _told_s
    report = yield
    now = _spent_s()
    report.user_properties.append(("processor_s", now - _told_s))
    _told_s = now
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    told = [spent for name, spent in report.user_properties if name == "processor_s" and isinstance(spent, float)]
    _by_file[report.nodeid.partition("::")[0]] += sum(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not terminalreporter.config.getoption("durations") or not _by_file:
        return
    terminalreporter.section(f"processor time by file: {sum(_by_file.values()):.0f} s in all")
    for file, spent_s in sorted(_by_file.items(), key=itemgetter(1), reverse=True)[:_SHOWN]:
        terminalreporter.write_line(f"{spent_s:7.1f}s {file}")
