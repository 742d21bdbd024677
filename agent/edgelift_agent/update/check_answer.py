"""What the device's own check said of a model in probation: a pure rule over how it ended. No I/O here.

Exit code 0 is good. 75 (`EX_TEMPFAIL` of sysexits.h) is *not now*: it is asked again. Whatever else it comes to, a signal
and a hang among them, is bad, and the previous version comes back.
"""

from __future__ import annotations

import errno
import re
import signal
from dataclasses import dataclass
from typing import Literal

from edgelift_agent.system.command import CommandEnd
from edgelift_contract.errors import disk_code
from edgelift_contract.probation import Verdict
from edgelift_contract.text import clean

NOT_NOW = 75
#: What is told of its output: the last line, characters.
LINE_CHARACTERS = 200
#: What a terminal takes as colours and movements; a shell's check may print them.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
#: Refusals of the system that end some day: it could not be tried, which says nothing of the model.
_SHORT = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})


@dataclass(frozen=True)
class CheckAnswer:
    """`good`, `not-now`, or `bad` with an error code; and in words what was said."""

    kind: Literal["good", "not-now", "bad"]
    code: str = ""
    message: str = ""


def answer_of(program: str, end: CommandEnd, timeout_s: float) -> CheckAnswer:
    """What a run that was not cancelled came to."""
    line = last_line(end.output)
    said = f": {line}" if line else "; it printed nothing."
    if end.how == "timed-out":
        return CheckAnswer("bad", "check-hung", f"{program} did not end within {timeout_s:g} s{said}")
    if end.status == 0:
        return CheckAnswer("good")
    if end.status == NOT_NOW:
        return CheckAnswer("not-now", "check-undecided", f"{program} says not now{said}")
    return CheckAnswer("bad", "check-failed", f"{program} ended with {_how(end.status)}{said}")


def not_started(program: str, error: OSError) -> CheckAnswer:
    """What it means that the system would not start it, or let us know how it ended."""
    if error.errno in _SHORT:
        reason = f"{program} could not be started ({disk_code(error.errno)}): {error.strerror}."
        return CheckAnswer("not-now", "check-undecided", reason)
    if isinstance(error, ChildProcessError):
        reason = f"How {program} ended is not known: this process has its children's ends taken away (SIGCHLD)."
        return CheckAnswer("bad", "check-failed", reason)
    return CheckAnswer("bad", "check-not-started", f"{program} can't be started: {error.strerror or error}.")


def last_line(output: bytes) -> str:
    """The last line with something on it, harmless for terminals and pages; at most `LINE_CHARACTERS`."""
    lines = _ESCAPES.sub(b"", output).decode(errors="replace").splitlines()
    for line in reversed(lines):
        shown = re.sub("\N{REPLACEMENT CHARACTER}+", "\N{REPLACEMENT CHARACTER}", clean(line)).strip()
        if shown:
            return shown if len(shown) <= LINE_CHARACTERS else f"{shown[: LINE_CHARACTERS - 1]}…"
    return ""


def judge_with_check(
    verdict: Verdict, last: CheckAnswer | None, *, running: bool, over_s: float, wait_s: float
) -> Verdict:
    """The verdict on a probation whose device has a check of its own.

    Args:
        verdict: by what was served.
        last: the check's newest answer; None before the first.
        running: it is being asked, or asked again.
        over_s: since the probation's time was over, seconds; negative before.
        wait_s: how long beyond it *not now* is taken for an answer, seconds.

    Returns:
        A `wait` says with code and message what is waited for, where the check said so.
    """
    if verdict.kind == "fail":
        return verdict
    if last is not None and last.kind == "bad":
        return Verdict("fail", last.code, last.message)
    if verdict.kind == "pass" and not running and last is not None:
        if last.kind == "good":
            return verdict
        if over_s >= wait_s:
            waited = f"It was waited for {wait_s:g} s beyond the probation (update.check_wait_s)."
            return Verdict("fail", last.code, f"{last.message} {waited}")
    return Verdict("wait", last.code, last.message) if last is not None else Verdict("wait")


def _how(status: int) -> str:
    if status > 0:
        return f"exit code {status}"
    names = signal.Signals._value2member_map_
    return signal.Signals(-status).name if -status in names else f"signal {-status}"
