"""A real agent process for tests: its folder, its configuration, its ports."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

from edgelift_agent.admin import ask
from edgelift_agent.testing.ports import free_port
from edgelift_contract.errors import DeviceError
from tests import forking
from tests.forked import COMMANDS
from tests.waiting import LONG_S

#: For `serve`: a connection that a client's pool keeps is not closed under it, however long a busy machine lets it wait.
PATIENT = "keep_alive_s = 3600.0\nrequest_timeout_s = 3600.0"


class Device:
    """An agent below `folder`; start and stop it as often as needed. As a context it does not outlive that."""

    def __init__(
        self,
        folder: Path,
        url: str,
        token: str,
        *,
        name: str = "pi-1",
        extra: str = "",
        serve: str = "",
        retry_cap_s: float = 0.5,
    ) -> None:
        self.folder, self.name = folder, name
        self.state = folder / "state"
        self.port = free_port()
        self.config = folder / "agent.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f'device = "{name}"\nstate_dir = "{self.state}"\n'
            f'[host]\nurl = "{url}"\ntoken = "{token}"\n'
            f"[serve]\nport = {self.port}\nadmin_port = 0\n{serve}\n"
            f"[update]\nretry_first_s = 0.1\nretry_cap_s = {retry_cap_s}\n{extra}"
        )
        self.process: subprocess.Popen[bytes] | forking.Forked | None = None
        self.log = folder / "agent.log"
        #: Variables of the agent's process alone.
        self.environment: dict[str, str] = {}
        #: Words before the agent's own command, as a small disk's.
        self.within: list[str] = []
        #: The state folder as this process reaches it.
        self.seen = self.state

    def start(self, *arguments: str, module: str = "edgelift_agent.testing.agent", wait: bool = True) -> "Device":
        words = ["--config", str(self.config), *arguments]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **self.environment}
        with self.log.open("ab") as log:
            if module in COMMANDS and not self.within and forking.may_fork(self.environment):
                self.process = forking.Forked(module, words, environ, stdout=log, stderr=log)
            else:
                self.process = subprocess.Popen(
                    [*self.within, sys.executable, "-m", module, *words],
                    stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environ,
                )  # fmt: skip
        if wait:
            self.wait_live()
        return self

    def wait_live(self, timeout_s: float = LONG_S) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            # The port is bound long before anything is answered there: who connects then waits for the answer.
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/v2/health/live", timeout=timeout_s).ok:
                    return
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the agent did not come up:\n{self.log.read_text()}")

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def infer(self, x: list[float], slot: str = "toy") -> requests.Response:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": x}
        return requests.post(f"{self.url}/v2/models/{slot}/infer", json={"inputs": [tensor]}, timeout=LONG_S)

    def answer(self, slot: str = "toy") -> float | None:
        """What the model makes of 1.0; None while nothing serves."""
        response = self.infer([1, 1, 1, 1], slot)
        return response.json()["outputs"][0]["data"][0] if response.ok else None

    def ask(self, method: str, route: str, arguments: dict | None = None) -> dict:
        try:
            return ask(self.seen / "run" / "admin.sock", method, route, arguments)
        except DeviceError as error:
            if self.seen == self.state or error.code != "not-serving":
                raise
            return ask(self.state / "run" / "admin.sock", method, route, arguments)  # it listens without a file

    def status(self) -> dict:
        """What the agent says of itself; asked again while it is too busy to answer within its own limit."""
        deadline = time.monotonic() + LONG_S
        while True:
            try:
                return self.ask("GET", "/status")
            except DeviceError as error:
                if error.code != "busy" or time.monotonic() > deadline:
                    raise

    def order(self, command: str, slot: str = "toy") -> str:
        return self.ask("POST", f"/{command}", {"slot": slot})["message"]

    def stop(self, how: int = signal.SIGTERM, timeout_s: float = LONG_S) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the agent did not stop:\n{self.log.read_text()[-4000:]}") from None
