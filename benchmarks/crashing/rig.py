"""One device folder, its host and its agent process, for one run of one fault."""

import contextlib
import ctypes
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from edgelift_agent.admin import ask
from edgelift_agent.testing.host import LONG_S, ToyHost
from edgelift_agent.testing.ports import free_port
from edgelift_contract.errors import DeviceError

DEVICE = "pi-1"
#: Linux `prctl.h`: die with the parent, here the fork server, which dies with the bench.
_PR_SET_PDEATHSIG = 1
#: Holds the exit code of an agent that came to its own end.
ENDED = "ended"
#: What the fork server says of a child whose end it did not see: then what the child left in `ENDED` counts.
UNSEEN = 255


def preload() -> None:
    """Let the fork server import what an agent imports, once."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["edgelift_agent.testing.agent", "uvicorn", "numpy", "requests", "edgelift_agent.artifact.goldens"]
    )


def _agent(argv: list[str], log: str) -> None:
    """In a forked child: the testing agent's own main."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    from edgelift_agent.testing import agent

    with Path(log).open("a") as handle:
        sys.stderr = handle
        sys.argv = ["agent", *argv]
        code: object = 1
        try:
            agent.main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
            raise
        finally:
            handle.flush()
            Path(log).with_name(ENDED).write_text(str(code))


class Rig:
    """A device below `folder`; its agent may be started again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.host = folder, ToyHost()
        self.log = str(folder / "agent.log")
        self.port = free_port()
        self.process: multiprocessing.process.BaseProcess | None = None
        self.closed = False
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.toml").write_text(
            f'device = "{DEVICE}"\nstate_dir = "{folder / "state"}"\n'
            f'[host]\nurl = "{self.host.url}"\ntoken = "{self.host.token}"\n'
            f"[serve]\nport = {self.port}\nadmin_port = 0\n"
            "[telemetry]\nwindow_s = 3600\npublish_interval_s = 3600\nprobation_window_s = 3600\n"
            # A check of the owner's, so that faults strike while one runs as well.
            '[update]\nretry_first_s = 0.05\nretry_cap_s = 0.2\ncheck = ["/bin/true"]\n'
        )

    def start(self, *arguments: str) -> None:
        context = multiprocessing.get_context("forkserver")
        argv = ["--config", str(self.folder / "agent.toml"), *arguments]
        (self.folder / ENDED).unlink(missing_ok=True)
        self.process = context.Process(target=_agent, args=(argv, self.log), daemon=False)
        self.process.start()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    @property
    def is_live(self) -> bool:
        """Does it take requests?"""
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{self.port}/v2/health/live", timeout=LONG_S).ok
        return False

    def answer(self) -> tuple[float, str] | None:
        """(what the model makes of 1, which version it says it is); None while nothing serves."""
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}
        try:
            url = f"http://127.0.0.1:{self.port}/v2/models/toy/infer"
            got = requests.post(url, json={"inputs": [tensor]}, timeout=LONG_S)
        except requests.RequestException:
            return None
        if not got.ok:
            return None
        body = got.json()
        return body["outputs"][0]["data"][0], body["parameters"]["release"].partition("@")[2]

    def ask(self, method: str, route: str, arguments: dict[str, Any] | None = None) -> Any:
        return ask(self.folder / "state" / "run" / "admin.sock", method, route, arguments)

    def degraded(self) -> list[str]:
        """What its status says is broken; empty when nothing is, or when it can't be asked."""
        try:
            return [fault["code"] for fault in self.ask("GET", "/status")["report"].get("degraded", [])]
        except (DeviceError, OSError):
            return []

    def order(self, command: str, timeout_s: float = 10.0) -> None:
        """Give the order until it is taken; refused for so long once the agent lives, it is given up."""
        self.wait(lambda: self.is_live or not self.alive, LONG_S)
        deadline = time.monotonic() + timeout_s
        while self.alive and time.monotonic() < deadline:
            try:
                self.ask("POST", f"/{command}", {"slot": "toy"})
                return
            except (DeviceError, OSError):
                time.sleep(0.05)

    def wait(self, condition: Callable[[], bool], timeout_s: float, *, traffic: bool = False) -> bool:
        """Wait for a condition, under requests if wanted; did it come?"""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition():
                return True
            if traffic:
                self.answer()
            time.sleep(0.02)
        return condition()

    def stop(self) -> int:
        """Stop it if it still runs; its exit code, negative for a signal."""
        if self.process is None:
            return 0
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(LONG_S)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        ended = self.folder / ENDED
        return int(ended.read_text()) if code == UNSEEN and ended.exists() else code

    def close(self) -> None:
        self.closed = True
        self.stop()
        self.host.close()
