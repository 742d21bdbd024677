"""What both demos stand on: commands as a user types them, processes that are watched, agents that are let in."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from scripts.demo_parts import Load

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SOURCE = "builder/examples/simplecnn.py:digits"
#: For this machine's own class, which it measures: of another one it would tell no order.
TARGETS = {"x86-64-vnni": "x86-64-vnni", "x86-64-avx2": "x86-64"}
#: Longer than any step takes on a busy machine, seconds: only a step that never ends meets it.
LONG_S = 600.0
console = Console(highlight=False, soft_wrap=True)


class Stage:
    """Everything below one temporary folder; `close` leaves no process behind."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        #: Of the site's signing keys; a user types one.
        self.passphrase = secrets.token_urlsafe(16)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ports: dict[str, int] = {}
        self.loads: dict[str, Load] = {}

    def say(self, text: str) -> None:
        console.print(f"\n[bold cyan]▶ {text}[/]")

    def edgelift(
        self, *arguments: str, check: bool = True, quiet: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a host command in front of the user."""
        if not quiet:
            shown = " ".join(str(a).replace(str(self.folder), "$DEMO") for a in arguments)
            console.print(f"[dim]$ edgelift {shown}[/]", markup=True)
        said = []
        with subprocess.Popen(
            [BIN / "edgelift", *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env={"EDGELIFT_PASSPHRASE": self.passphrase, **os.environ, "COLUMNS": str(console.width)},
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:  # as it comes: a rollout takes its time
                said.append(line)
                if not quiet:
                    console.print(line.rstrip(), markup=False)
        if check and process.returncode:
            raise SystemExit(f"edgelift {arguments[0]} failed with exit code {process.returncode}")
        return subprocess.CompletedProcess(arguments, process.returncode, "".join(said))

    def json(self, *arguments: str) -> dict:
        return json.loads(self.edgelift(*arguments, "--site", str(self.site), "--json", quiet=True).stdout)

    def spawn(self, *command: str | Path, log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def release(self, version: str) -> Path:
        return self.folder / f"digits-{version}"

    def token(self, uses: int, tags: str) -> Path:
        """A file with an enrolment token, as it would be carried to the devices."""
        made = self.edgelift(
            "token", "create", "--uses", str(uses), "--expires", "1h", "--tags", tags, "--site", str(self.site),
            quiet=True,
        )  # fmt: skip
        console.print(f"[dim]$ edgelift token create --uses {uses} --expires 1h --tags {tags}[/]")
        path = self.folder / "token"
        path.touch(0o600)
        path.write_text(made.stdout)
        return path

    def enroll(self, device: str, token: Path, transport: str = "auto") -> None:
        """The device makes its key, and gets a certificate."""
        self.config(device).write_text(self.agent_config(device, transport))
        words = ["--config", str(self.config(device)), "enroll", "--token-file", str(token)]
        shown = " ".join(words).replace(str(self.folder), "$DEMO")
        console.print(f"[dim]$ edgelift-agent {shown}[/]")
        done = subprocess.run(
            [BIN / "edgelift-agent", *words], cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
        console.print(done.stdout.rstrip(), markup=False)
        if done.returncode:
            raise SystemExit(f"{device} could not be enrolled: exit code {done.returncode}")

    def config(self, device: str) -> Path:
        return self.folder / f"{device}.toml"

    def agent_config(self, device: str, transport: str) -> str:
        url = json.loads((self.site / "run" / "server.json").read_text())["url"]
        return (
            f'device = "{device}"\nstate_dir = "{self.folder / device}"\n'
            f'[host]\nurl = "{url}"\ntransport = "{transport}"\n'
            f"[serve]\nport = {self.ports[device]}\nadmin_port = 0\n"
            "keep_alive_s = 120\nrequest_timeout_s = 120\n"  # whoever asks here may be kept waiting by a busy machine
            "[telemetry]\nwindow_s = 2\npublish_interval_s = 2\nprobation_window_s = 1\n"
            "[update]\nretry_first_s = 0.2\n"
        )

    def wait_for(self, what: str, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + LONG_S
        if not console.is_terminal:
            console.print(f"Waiting for {what}")
        with console.status(f"Waiting for {what}"):
            while time.monotonic() < deadline:
                for process in self.processes:
                    if process.poll() is not None:
                        raise SystemExit(f"a process ended with {process.returncode}: {process.args}")
                if condition():
                    return
                time.sleep(0.3)
        raise SystemExit(f"{what} did not come within {LONG_S:.0f} s; see the logs above")

    def close(self) -> None:
        for load in self.loads.values():
            load.stop()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
