"""`edgelift-agent doctor`: looks at everything an agent depends on, and says what to do about what is wrong.

A running agent is asked how it sees things from where it stands (its token, groups, devices, board); what it would
see is guessed at only where none runs. One check per function; each returns a finding, never raises.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

from edgelift_agent.admin import ask
from edgelift_agent.config import Config, is_loopback, read_token
from edgelift_agent.identity.identity import DeviceIdentity
from edgelift_agent.identity.kept import IdentityFiles
from edgelift_agent.identity.metrics_tls import MetricsTls, is_admin_tls
from edgelift_agent.system.board import Board
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.command import why_not
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_contract.hardware import this_machine

#: Differences of the clocks above this make logs and records misleading, seconds.
CLOCK_LIMIT_S = 60.0
HOT_C, TOO_HOT_C = 75.0, 80.0
#: A root that ends sooner is to be renewed, seconds.
ROOT_SOON_S = 30 * 86400.0
#: A certificate that has so little time left was to be renewed two weeks ago, seconds.
CERTIFICATE_SOON_S = 14 * 86400.0
#: What of `Degraded` is about whom to trust.
_TRUST_PARTS = frozenset({"trust", "roots", "freshness", "assignment", "assignment over MQTT"})


@dataclass(frozen=True)
class Finding:
    """What a check found: `ok`, `warn` or `fail`, a sentence, and what to do."""

    check: str
    state: Literal["ok", "warn", "fail"]
    message: str
    advice: str = ""


class RunningAgent:
    """The running agent's own word.

    Attributes:
        status, seen: what it answers to `GET /status` and `GET /doctor`; empty where it doesn't.
        refusal: why not; None when it answered.
    """

    def __init__(self, config: Config) -> None:
        """Ask it."""
        self.status: dict[str, Any] = {}
        self.seen: dict[str, Any] = {}
        self.refusal: DeviceError | None = None
        socket_path = Path(config.state_dir) / "run" / "admin.sock"
        try:
            self.status = ask(socket_path, "GET", "/status", timeout_s=5)
            self.seen = ask(socket_path, "GET", "/doctor", timeout_s=15)
        except DeviceError as error:
            self.refusal = error

    @property
    def forbidden(self) -> bool:
        """Does an agent run that we may not ask?"""
        return self.refusal is not None and self.refusal.code == "not-allowed"


def examine(config: Config, board: Board | None = None) -> list[Finding]:
    """Run every check; `board` is read where no agent tells how it reads its own."""
    board = board or Board()
    agent = RunningAgent(config)
    readings = agent.seen.get("readings") or board.readings()
    checks: list[Callable[[], Finding]] = [
        lambda: check_hardware(board),
        lambda: check_agent(agent),
        lambda: check_degraded(agent),
        lambda: check_runtimes(agent),
        lambda: check_disk(config, agent),
        lambda: check_devices(agent),
        lambda: check_own_check(config, agent),
        lambda: check_host(config, agent),
        lambda: check_clock(config, agent),
        lambda: check_trust(agent),
        lambda: check_certificate(agent),
        lambda: check_metrics(config),
        lambda: check_broker(config, agent),
        lambda: check_server(config, agent),
        lambda: check_temperature(readings),
        lambda: check_power(readings),
    ]
    return [check() for check in checks]


def check_hardware(board: Board) -> Finding:
    """Is the processor one that runtimes exist for?"""
    try:
        name = this_machine()
    except DeviceError as error:
        return Finding("hardware", "fail", error.message, error.hint)
    return Finding("hardware", "ok", f"{name}{f', {board.model()}' if board.model() else ''}")


def check_agent(agent: RunningAgent) -> Finding:
    """Does the agent run, and may we ask it?"""
    if agent.refusal is not None and agent.forbidden:
        return Finding("agent", "warn", agent.refusal.message, "Run this with sudo to see what the agent sees.")
    if agent.refusal is not None and agent.refusal.code == "busy":
        return Finding("agent", "fail", agent.refusal.message, agent.refusal.hint)
    if not agent.status:
        advice = "systemctl start edgelift-agent; journalctl -u edgelift-agent"
        return Finding("agent", "fail", "No agent runs.", advice)
    slots = agent.status["report"].get("slots", {})
    serving = [f"{name}: {s.get('model')}@{s.get('version')}" for name, s in slots.items() if s.get("artifact")]
    return Finding("agent", "ok", "; ".join(serving) or "runs; no model is assigned")


def check_degraded(agent: RunningAgent) -> Finding:
    """Does the agent live with something broken?"""
    faults = agent.status.get("report", {}).get("degraded", [])
    if faults:
        listed = "; ".join(f"{fault['part']}: {fault['message']} ({fault['code']})" for fault in faults)
        return Finding("degraded", "fail", listed, "Serving goes on; mend this, and the agent recovers by itself.")
    return Finding("degraded", "ok", "nothing is broken around the agent" if agent.status else "not known")


def check_runtimes(agent: RunningAgent) -> Finding:
    """Is there any runtime?"""
    from edgelift_agent.runtime import all_runtimes, available  # late: not needed to print help

    found = agent.seen.get("runtimes") or available(all_runtimes())
    if not found:
        advice = "In the agent's environment: pip install onnxruntime, or ai-edge-litert."
        return Finding("runtime", "fail", "No runtime is installed.", advice)
    return Finding("runtime", "ok", ", ".join(f"{name} {version}" for name, version in found.items()))


def check_disk(config: Config, agent: RunningAgent | None = None) -> Finding:
    """Is there room in the state folder; and, where no agent tells of it, can it be written?"""
    folder = Path(config.state_dir)
    place = next(p for p in (folder, *folder.parents) if _is_there(p))
    seen = agent.seen if agent else {}
    if not seen and not os.access(place, os.W_OK | os.X_OK):
        message = f"This user can't write {place}; whether the agent's can is not known."
        return Finding("disk", "warn", message, "Run this with sudo.")
    if not seen and (refused := _refused(place)) is not None:
        return Finding("disk", "fail", refused.message, refused.hint)
    free = int(seen.get("disk_free_bytes", 0)) or shutil.disk_usage(place).free
    if free < config.update.disk_reserve_bytes * 4:
        return Finding(
            "disk", "warn", f"{free / 1e6:.0f} MB free in {place}.", "Free some space, or updates will fail."
        )
    return Finding("disk", "ok", f"{free / 1e9:.1f} GB free in {place}")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _refused(place: Path) -> DeviceError | None:
    probe, disk = place / ".edgelift-probe", Disk()
    try:
        disk.write_file(probe, b"x")
        disk.unlink(probe)
    except DeviceError as error:
        return error
    return None


def check_devices(agent: RunningAgent) -> Finding:
    """Can the agent open the devices that tell of throttling and run models?"""
    if not agent.seen:
        return Finding("devices", "ok", "not known while the agent can't be asked")
    refused: dict[str, str] = agent.seen["refused_devices"]
    if refused:
        return Finding(
            "devices",
            "warn",
            f"{agent.seen['user']} can't open {', '.join(refused)}: {next(iter(refused.values()))}.",
            "Put it into the groups video and render, and see DeviceAllow in the unit.",
        )
    return Finding(
        "devices", "ok", f"none is refused to {agent.seen['user']} in {', '.join(agent.seen['groups'])}"
    )


def check_own_check(config: Config, agent: RunningAgent) -> Finding:
    """Can the device's own check be started? Without it no update would be kept."""
    if not config.update.check:
        return Finding("own check", "ok", "none: update.check is not set")
    refused = agent.seen.get("own_check_refused", "") if agent.seen else why_not(config.update.check[0])
    if refused:
        advice = "Put it right before the next update, or every update is taken back (check-not-started)."
        return Finding("own check", "fail", f"{refused[0].upper()}{refused[1:]}.", advice)
    return Finding("own check", "ok", " ".join(config.update.check))


def check_host(config: Config, agent: RunningAgent) -> Finding:
    """Does the control plane answer, and does it take our token? The agent's own, where one runs."""
    from edgelift_agent.link.trial import try_host  # late: brings requests

    if agent.seen:
        trial = agent.seen["host"]
    else:
        identity = _identity(config)
        try:
            token = "" if identity.has_files else read_token(config)
        except EdgeliftError as error:
            advice = "Run this with sudo." if agent.forbidden else "Start the agent: systemd hands it its token."
            return Finding("host", "warn", f"Not tried: {error.message}", advice)
        trial = try_host(config, token, identity.way)
    return Finding("host", "ok" if trial["answers"] else "fail", trial["message"], trial["hint"])


def _identity(config: Config) -> DeviceIdentity:
    """By what the host is called; where this device has a certificate, by that alone."""
    kept = IdentityFiles(Path(config.state_dir), Disk())
    return DeviceIdentity(kept, Degraded(SystemClock()), config.device, config.host.url, lambda: 0.0)


def _called(config: Config) -> str:
    """Where the control plane is called; by a device with a certificate as that says. Raises as `DeviceIdentity.way`."""
    way = _identity(config).way()
    return way.url if way is not None else config.host.url


def check_clock(config: Config, agent: RunningAgent) -> Finding:
    """How far is our clock from the host's, by its Date header?"""
    import urllib3  # late: see above

    from edgelift_agent.link.bounded import Watch
    from edgelift_agent.link.session import FAULTS, HttpSession

    # Nothing secret is asked, and a wrong clock is what may keep a certificate from being believed.
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        url = agent.status.get("identity", {}).get("url") or _called(config)
        with warnings.catch_warnings(), HttpSession(Watch(), anyone) as session:
            warnings.simplefilter("ignore")  # of urllib3, for that
            with session.ask("GET", f"{url}/v1/health", timeout=urllib3.Timeout(connect=5, read=5)) as answer:
                theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (*FAULTS, EdgeliftError, KeyError):
        return Finding("clock", "warn", "The host's time is not known.", "Reach the host first.")
    off_s = time.time() - theirs
    if abs(off_s) > CLOCK_LIMIT_S:
        return Finding(
            "clock", "warn", f"This clock is {off_s:+.0f} s from the host's.",
            "Updates go on; records carry this clock. Set up time synchronisation.",
        )  # fmt: skip
    return Finding("clock", "ok", f"within {abs(off_s):.0f} s of the host's")


def check_trust(agent: RunningAgent) -> Finding:
    """Who signs what this device runs, until when do they, and when was the last fresh answer?"""
    if not agent.status:
        return Finding("trust", "warn", "Not known while the agent can't be asked.", "See agent above.")
    faults = [one for one in agent.status["report"].get("degraded", []) if one["part"] in _TRUST_PARTS]
    if faults:
        return Finding("trust", "fail", faults[0]["message"], "Nothing new is taken; what serves goes on.")
    trust = agent.status.get("trust")
    if not trust:
        advice = "Have the site sign: its devices learn whom to trust within a day."
        return Finding("trust", "warn", "Nothing is signed: this device takes what the host says.", advice)
    ends = {name: root["expires"] - time.time() for name, root in trust["roots"].items()}
    name, left_s = min(ends.items(), key=lambda one: one[1])
    versions = ", ".join(f"{name} root {root['version']:.0f}" for name, root in trust["roots"].items())
    heard = time.strftime("%Y-%m-%d %H:%M", time.localtime(trust["heard_at"])) if trust["heard_at"] else "none yet"
    text = f"{versions}; last fresh answer: {heard}"
    if left_s < ROOT_SOON_S:
        return Finding(
            "trust", "warn", f"The {name} root ends in {left_s / 86400:.0f} days by this clock. {text}",
            "Renew it on the host, or nothing new can be installed then.",
        )  # fmt: skip
    return Finding("trust", "ok", text)


def check_certificate(agent: RunningAgent) -> Finding:
    """Until when does this device's certificate hold, and the site's authority?"""
    if not agent.status:
        return Finding("certificate", "warn", "Not known while the agent can't be asked.", "See agent above.")
    fault = next((one for one in agent.status["report"].get("degraded", []) if one["part"] == "certificate"), None)
    if fault is not None:
        return Finding("certificate", "fail", fault["message"], "Enrol this device again: edgelift-agent enroll.")
    identity = agent.status.get("identity")
    if not identity:
        advice = "Enrol it: edgelift token create on the host, then edgelift-agent enroll."
        return Finding("certificate", "warn", "None: this device shows the token that all share.", advice)
    now, until, ends = time.time(), identity["until"], identity["authorities"]
    authority = f"the site's authority until {_date(max(ends, default=0.0))}"
    if until and until - now < CERTIFICATE_SOON_S:
        said = "ended" if until <= now else "ends"
        advice = "The agent renews it by itself: is the host reached? And is this clock right?"
        return Finding("certificate", "warn", f"It {said} on {_date(until)}; {authority}.", advice)
    if ends and max(ends) - now < ROOT_SOON_S:
        advice = "Change it on the host: edgelift authority rotate."
        return Finding("certificate", "warn", f"It holds until {_date(until)}; {authority}.", advice)
    return Finding("certificate", "ok", f"holds until {_date(until)}; {authority}")


def check_metrics(config: Config) -> Finding:
    """Who can scrape this device, and can anybody on the way read along?"""
    serve = config.serve
    if is_admin_tls(serve):
        try:
            MetricsTls(IdentityFiles(Path(config.state_dir), Disk())).check()
        except DeviceError as error:
            return Finding("metrics", "warn", error.message, error.hint)
        return Finding("metrics", "ok", f"answered by TLS as {config.device}")
    if is_loopback(serve.admin_host):
        return Finding("metrics", "ok", "answered on this machine alone")
    return Finding(
        "metrics", "warn", f"Answered in the clear on {serve.admin_host}: whoever listens on the way reads the token.",
        'Leave serve.admin_tls out, or say "device", once this device has a certificate.',
    )  # fmt: skip


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment)) if moment else "?"


def check_broker(config: Config, agent: RunningAgent) -> Finding:
    """By which way does the running agent reach the host?"""
    if not agent.status:
        return Finding("broker", "warn", "Not known while the agent can't be asked.", "See agent above.")
    if agent.status["transport"] == "mqtt":
        return Finding("broker", "ok", "connected by MQTT")
    if config.host.transport == "http":
        return Finding("broker", "ok", "not used: host.transport is http")
    return Finding(
        "broker", "warn", "Not connected; HTTP carries everything.", "Is the broker's port reachable from here?"
    )


def check_server(config: Config, agent: RunningAgent) -> Finding:
    """Does the inference port answer?"""
    port = agent.status.get("port", config.serve.port)
    try:
        with socket.create_connection((config.serve.host, port), timeout=2):
            return Finding("server", "ok", f"answers on {config.serve.host}:{port}")
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding("server", "fail", f"{config.serve.host}:{port}: {reason}.", "Start the agent.")


def check_temperature(readings: Mapping[str, float]) -> Finding:
    """Is the processor hot or throttled?"""
    hottest = readings.get("soc_temp_c")
    if readings.get("throttled"):
        return Finding(
            "temperature", "fail", "The processor is throttled now.", "Cool the board: models run slower."
        )
    if hottest is None:
        return Finding("temperature", "ok", "not reported by this machine")
    state: Literal["ok", "warn", "fail"] = "ok" if hottest < HOT_C else "warn" if hottest < TOO_HOT_C else "fail"
    return Finding("temperature", state, f"{hottest:.0f} °C", "" if state == "ok" else "Cool the board.")


def check_power(readings: Mapping[str, float]) -> Finding:
    """Is the supply too weak, now or since boot?"""
    if readings.get("under_voltage"):
        return Finding("power", "fail", "Under-voltage now.", "Use a stronger supply or a shorter cable.")
    if readings.get("under_voltage_since_boot"):
        return Finding(
            "power", "warn", "Under-voltage happened since boot.", "Use a stronger supply or a shorter cable."
        )
    return Finding(
        "power", "ok", "no under-voltage" if "under_voltage" in readings else "not reported by this machine"
    )
