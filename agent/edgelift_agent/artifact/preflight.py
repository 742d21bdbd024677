"""Preflight: a candidate proves itself in a child process before anyone depends on it.

The child (`preflight_child`) loads it with its own session options, runs every golden, and measures latency
and peak memory. A crash, a hang or a memory hog there costs nothing: the agent goes on serving. The child
runs at low priority and under a time and a memory limit; the time that others keep it waiting is theirs, not
its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil

from edgelift_agent.system.memory import let_go_first
from edgelift_agent.system.processor import waited_s
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_contract.histogram import Histogram, HistogramData
from edgelift_contract.manifest import Manifest

#: A candidate that is kept waiting for a processor may take so many times its limit: it must end one day.
LONGEST = 10.0
#: Most that one look at the child counts of its time, seconds: the agent may itself have been stopped meanwhile (by a
#: signal, a frozen container, a paused machine), and the child with it.
LOOK_COUNTS_S = 1.0
#: The child's first line: it lives, and turns to the artifact now. What ends it before is this machine's matter.
BEGUN = b"begun"


class PreflightResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the child measured.

    Attributes:
        load_ms: from files to a model that answers.
        golden_max_error: largest absolute difference to a golden.
        latency_us: warm single inferences at batch 1, microseconds.
        peak_bytes: growth of the child's resident memory over load and run.
    """

    load_ms: float
    golden_max_error: float
    latency_us: HistogramData
    peak_bytes: int


class ChildReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The child's last line: a result, or an error by its code."""

    result: PreflightResult | None = None
    kind: str = ""
    code: str = ""
    message: str = ""


class Preflight:
    """Runs candidates in a child process."""

    def __init__(
        self,
        kernels: str,
        *,
        timeout_s: float = 120.0,
        nice: int = 19,
        memory_limit_bytes: int = 0,
        module: str = "edgelift_agent.artifact.preflight_child",
    ) -> None:
        """Set the limits.

        Args:
            kernels: of this device, for the tolerance key; see `hardware.kernels`.
            timeout_s: after which a candidate counts as hung; see `has_hung`.
            nice: the child's niceness, set as soon as it is spawned: importing a runtime is the most of its work.
            memory_limit_bytes: resident memory at which the child is ended; 0 takes what is available then.
            module: what the child runs.
        """
        self._kernels, self._timeout_s, self._nice = kernels, timeout_s, nice
        self._memory_limit_bytes, self._module = memory_limit_bytes, module

    def run(self, folder: Path, manifest: Manifest) -> PreflightResult:
        """Try a staged artifact.

        Raises:
            ContractError: `load-failed`, `golden-mismatch`, `preflight-crashed`, `preflight-hung`,
                `latency-over-budget`, `memory-over-budget`.
            DeviceError: `no-memory`, `no-runtime`.
        """
        name = f"{manifest.model}@{manifest.version}"
        command = [sys.executable, "-m", self._module, str(folder), self._kernels]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        ) as child:
            try:
                os.setpriority(os.PRIO_PROCESS, child.pid, self._nice)
                let_go_first(child.pid)
                output, errors = self._wait(child, name)
            except BaseException:
                child.kill()
                raise
        reply = _parse(output)
        if reply is None:
            raise _crash(child.returncode, name, errors, begun=BEGUN in output.split())
        if reply.result is None:
            raise _error(reply)
        _check_budgets(manifest, reply.result, name)
        return reply.result

    def _wait(self, child: subprocess.Popen[bytes], name: str) -> tuple[bytes, bytes]:
        limit = self._memory_limit_bytes or int(psutil.virtual_memory().available * 0.9)
        process = psutil.Process(child.pid)
        elapsed_s, looked = 0.0, time.monotonic()
        while True:
            try:
                return child.communicate(timeout=0.1)
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            elapsed_s, looked = elapsed_s + min(now - looked, LOOK_COUNTS_S), now
            if has_hung(elapsed_s, waited_s(child.pid), self._timeout_s):
                raise ContractError(
                    "preflight-hung", f"{name} did not finish its preflight within {self._timeout_s:g} s."
                )
            try:
                used = process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            if used > limit:
                raise DeviceError(
                    "no-memory",
                    f"{name} took more than {limit / 1e6:.0f} MB in its preflight, which is all there is.",
                )


def has_hung(elapsed_s: float, kept_waiting_s: float, timeout_s: float) -> bool:
    """Whether a candidate had its time and didn't end.

    At low priority on a busy device a good one may need minutes for what takes a second. What it waited for a
    processor is therefore no part of its time, up to `LONGEST` times the limit in all.
    """
    return elapsed_s - kept_waiting_s > timeout_s or elapsed_s > LONGEST * timeout_s


def _parse(output: bytes) -> ChildReply | None:
    lines = output.strip().splitlines()
    try:
        return msgspec.json.decode(lines[-1], type=ChildReply) if lines else None
    except msgspec.MsgspecError:
        return None


def _crash(code: int | None, name: str, errors: bytes, *, begun: bool) -> EdgeliftError:
    how = f"exit code {code}"
    if code is not None and code < 0:
        how = signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else f"signal {-code}"
    # SIGKILL that we did not send is the kernel's out-of-memory killer.
    if code == -signal.SIGKILL:
        return DeviceError("no-memory", f"The kernel ended {name} in its preflight: not enough memory.")
    last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
    if not begun:
        return DeviceError(
            "no-memory", f"The process that should try {name} ended with {how} before it began: {last[0][:300]}"
        )
    return ContractError("preflight-crashed", f"{name} ended its preflight with {how}: {last[0][:300]}")


def _error(reply: ChildReply) -> EdgeliftError:
    kind = DeviceError if reply.kind == "DeviceError" else ContractError
    return kind(reply.code, reply.message)


def _check_budgets(manifest: Manifest, result: PreflightResult, name: str) -> None:
    budgets = manifest.budgets
    p95_ms = Histogram.from_data(result.latency_us).quantile(0.95) / 1000
    if budgets.latency_p95_ms is not None and p95_ms > budgets.latency_p95_ms:
        raise ContractError(
            "latency-over-budget",
            f"{name} takes {p95_ms:.2f} ms (p95) here; its budget is {budgets.latency_p95_ms:g} ms.",
        )
    if budgets.peak_memory_bytes is not None and result.peak_bytes > budgets.peak_memory_bytes:
        raise ContractError(
            "memory-over-budget",
            f"{name} needs {result.peak_bytes / 1e6:.1f} MB here;"
            f" its budget is {budgets.peak_memory_bytes / 1e6:.1f} MB.",
        )
