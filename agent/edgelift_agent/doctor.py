"""`edgelift-agent doctor`: looks at everything an agent depends on, and says what to do about what is wrong.

One check per function; each returns a finding, never raises. Works with and without a running agent.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

from edgelift_agent.admin import ask
from edgelift_agent.config import Config, read_token
from edgelift_agent.system.board import Board
from edgelift_agent.system.disk import Disk
from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_contract.hardware import this_machine

#: Differences of the clocks above this make logs and records misleading, seconds.
CLOCK_LIMIT_S = 60.0
HOT_C, TOO_HOT_C = 75.0, 80.0


@dataclass(frozen=True)
class Finding:
    """What a check found: `ok`, `warn` or `fail`, a sentence, and what to do."""

    check: str
    state: Literal["ok", "warn", "fail"]
    message: str
    advice: str = ""


def examine(config: Config, board: Board | None = None) -> list[Finding]:
    """Run every check."""
    board = board or Board()
    checks: list[Callable[[], Finding]] = [
        lambda: check_hardware(board),
        check_runtimes,
        lambda: check_disk(config),
        lambda: check_host(config),
        lambda: check_clock(config),
        lambda: check_broker(config),
        lambda: check_agent(config),
        lambda: check_server(config),
        lambda: check_temperature(board),
        lambda: check_power(board),
    ]
    return [check() for check in checks]


def check_hardware(board: Board) -> Finding:
    """Is the processor one that runtimes exist for?"""
    try:
        name = this_machine()
    except DeviceError as error:
        return Finding("hardware", "fail", error.message, error.hint)
    return Finding("hardware", "ok", f"{name}{f', {board.model()}' if board.model() else ''}")


def check_runtimes() -> Finding:
    """Is there any runtime, and which provider would it use?"""
    from edgelift_agent.runtime import all_runtimes, available  # late: not needed to print help

    found = available(all_runtimes())
    if not found:
        return Finding(
            "runtime", "fail", "No runtime is installed.", "pip install 'edgelift[onnx]' or 'edgelift[tflite]'"
        )
    return Finding(
        "runtime", "ok", ", ".join(f"{name} {version}" for name, version in found.items()) + " on the CPU"
    )


def check_disk(config: Config) -> Finding:
    """Can the state folder be written, and is there room?"""
    folder = Path(config.state_dir)
    place = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(place).free
    probe, disk = place / ".edgelift-probe", Disk()
    try:
        disk.write_file(probe, b"x")
        disk.unlink(probe)
    except DeviceError as error:
        return Finding("disk", "fail", error.message, error.hint)
    if free < config.update.disk_reserve_bytes * 4:
        return Finding(
            "disk", "warn", f"{free / 1e6:.0f} MB free in {place}.", "Free some space, or updates will fail."
        )
    return Finding("disk", "ok", f"{free / 1e9:.1f} GB free in {place}")


def check_host(config: Config) -> Finding:
    """Does the control plane answer, and does it take our token?"""
    from edgelift_agent.link.http import HttpTransport  # late: brings requests

    try:
        HttpTransport(config.host.url, read_token(config), config.device, timeout_s=5).poll(None, 0.0)
    except EdgeliftError as error:
        if error.code in ("not-found", "malformed"):
            return Finding("host", "ok", f"{config.host.url} answers; this device has not enrolled yet")
        return Finding("host", "fail", error.message, error.hint or "Check host.url and the network.")
    return Finding("host", "ok", f"{config.host.url} answers and knows this device")


def check_clock(config: Config) -> Finding:
    """How far is our clock from the host's, by its Date header?"""
    import requests  # late: see above

    session = requests.Session()
    session.trust_env = False
    try:
        answer = session.get(f"{config.host.url}/v1/health", timeout=5)
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (requests.RequestException, KeyError, ValueError):
        return Finding("clock", "warn", "The host's time is not known.", "Reach the host first.")
    finally:
        session.close()
    off_s = time.time() - theirs
    if abs(off_s) > CLOCK_LIMIT_S:
        return Finding(
            "clock", "warn", f"This clock is {off_s:+.0f} s from the host's.",
            "Updates go on; records carry this clock. Set up time synchronisation.",
        )  # fmt: skip
    return Finding("clock", "ok", f"within {abs(off_s):.0f} s of the host's")


def check_broker(config: Config) -> Finding:
    """By which way does the running agent reach the host?"""
    status = _status(config)
    if status is None:
        return Finding("broker", "warn", "Not known while no agent runs.", "Start the agent.")
    if status["transport"] == "mqtt":
        return Finding("broker", "ok", "connected by MQTT")
    if config.host.transport == "http":
        return Finding("broker", "ok", "not used: host.transport is http")
    return Finding(
        "broker", "warn", "Not connected; HTTP carries everything.", "Is the broker's port reachable from here?"
    )


def check_agent(config: Config) -> Finding:
    """Does the agent run?"""
    status = _status(config)
    if status is None:
        return Finding(
            "agent", "fail", "No agent runs.", "systemctl start edgelift-agent; journalctl -u edgelift-agent"
        )
    slots = status["report"].get("slots", {})
    serving = [f"{name}: {s.get('model')}@{s.get('version')}" for name, s in slots.items() if s.get("artifact")]
    return Finding("agent", "ok", "; ".join(serving) or "runs; no model is assigned")


def check_server(config: Config) -> Finding:
    """Does the inference port answer?"""
    status = _status(config)
    port = status["port"] if status else config.serve.port
    try:
        with socket.create_connection((config.serve.host, port), timeout=2):
            return Finding("server", "ok", f"answers on {config.serve.host}:{port}")
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding("server", "fail", f"{config.serve.host}:{port}: {reason}.", "Start the agent.")


def check_temperature(board: Board) -> Finding:
    """Is the processor hot or throttled?"""
    readings = board.readings()
    hottest = readings.get("soc_temp_c")
    if readings.get("throttled"):
        return Finding(
            "temperature", "fail", "The processor is throttled now.", "Cool the board: models run slower."
        )
    if hottest is None:
        return Finding("temperature", "ok", "not told by this machine")
    state: Literal["ok", "warn", "fail"] = "ok" if hottest < HOT_C else "warn" if hottest < TOO_HOT_C else "fail"
    return Finding("temperature", state, f"{hottest:.0f} °C", "" if state == "ok" else "Cool the board.")


def check_power(board: Board) -> Finding:
    """Is the supply too weak, now or since boot?"""
    readings = board.throttling()
    if readings.get("under_voltage"):
        return Finding("power", "fail", "Under-voltage now.", "Use a stronger supply or a shorter cable.")
    if readings.get("under_voltage_since_boot"):
        return Finding(
            "power", "warn", "Under-voltage happened since boot.", "Use a stronger supply or a shorter cable."
        )
    return Finding(
        "power", "ok", "no under-voltage" if "under_voltage" in readings else "not told by this machine"
    )


def _status(config: Config) -> dict[str, Any] | None:
    try:
        status: dict[str, Any] = ask(Path(config.state_dir) / "run" / "admin.sock", "GET", "/status", timeout_s=5)
    except EdgeliftError:
        return None
    return status
