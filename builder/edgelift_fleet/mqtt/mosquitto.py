"""mosquitto as a child of the server: configured, started, kept alive, and never left behind.

Its files lie in the site's `run/broker`. It ends with the server even when that is killed: the kernel sends it
SIGTERM when the thread that started it dies (`PR_SET_PDEATHSIG`), which is why one thread of ours lives as
long as the broker does. It runs as whoever runs the server; a user of its own could not reach into a site that
only its owner may enter, and the kernel drops the death signal when a process changes its user.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgelift_contract.errors import DeviceError
from edgelift_fleet.descriptors import descriptors_limit, places_for
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.identity.identities import Identities
from edgelift_fleet.mqtt import conf
from edgelift_fleet.mqtt.access import ACL, HOST_USER, PROBE_USER, password_of
from edgelift_fleet.mqtt.passwords import Passwords
from edgelift_fleet.mqtt.probe import answers
from edgelift_fleet.mqtt.revocations import Revocations, take_over

log = logging.getLogger(__name__)

#: How long it may take to answer, seconds; one that ends before that is noticed at once.
_START_S = 30.0
_STOP_S = 3.0
_LOOPBACK = "127.0.0.1"
#: Below every system's range for outgoing connections (Linux: 32768 up): none of these takes our port between the
#: look and mosquitto's own `bind`, nor while the server is down.
_PORTS = range(20_000, 30_000)
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
#: A broker that stayed up this long has recovered: the next restart is quick again, seconds.
_STEADY_S = 30.0

# Sets the death signal, then becomes mosquitto under the same process id. A fork hook in this process
# (`preexec_fn`) would not be safe beside its threads.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(0)
os.execv(sys.argv[2], sys.argv[2:])
"""


def find_mosquitto() -> str | None:
    """Where mosquitto is installed; Debian keeps it where users' PATH doesn't look."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class ByCertificate:
    """How devices with certificates are let in.

    Attributes:
        identities: whose authority vouches for them, and for the broker.
        certificate: the server's certificate and key, a file (PEM) that is renewed.
        alone: none comes without a certificate, but for the control plane itself, on this machine.
    """

    identities: Identities
    certificate: Path
    alone: bool


class Broker:
    """A mosquitto of ours. A context: started at its beginning, stopped at its end."""

    def __init__(
        self, program: str, folder: Path, *, host: str, port: int, key: str, users: Iterable[str],
        secured: ByCertificate | None = None,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            program: path of mosquitto.
            folder: for its files; made if missing.
            host: address to listen on.
            port: to listen on; 0 takes the one it had last time if that is free, else a free one.
            key: from which passwords are derived.
            users: device ids that may enter by password.
            secured: how those with a certificate may; None for not at all.
        """
        self._secured = secured
        self._revocations: Revocations | None = None
        self.tls_port = 0
        self._program, self._folder, self._key = str(Path(program).absolute()), folder, key
        self.host, self.port = host, port
        self._passwords = Passwords(folder / conf.PASSWORDS, key, (HOST_USER, PROBE_USER, *users), tell=self._tell)
        self._lock = threading.Lock()
        self._answers = False
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping, self._up = threading.Event(), threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._supervise, name="broker", daemon=True)

    @property
    def pid(self) -> int:
        """Process id of the running mosquitto; 0 between two."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def password(self, user: str) -> str:
        """The user's password."""
        return password_of(self._key, user)

    def admit(self, user: str) -> None:
        """Let a device in, now; one that is shut out stays so. Returns once mosquitto was told.

        Raises:
            DeviceError: `disk-full`, `disk-error`, `read-only`.
        """
        self._passwords.admit(user)

    def shut_out(self, user: str) -> None:
        """End a device's connection and keep it out for a while; returns at once."""
        self._passwords.shut_out(user)
        if self._revocations is not None:
            self._revocations.shut_out(user)

    def _tell(self) -> None:
        """Have mosquitto read its files again."""
        with self._lock:
            process = self._process
            # Not before it answers: it, and what starts it, would end by that signal.
            if self._answers and process is not None and process.poll() is None:
                process.send_signal(signal.SIGHUP)

    def _end_session(self, device: str) -> None:
        """End the session of a device that came by its certificate."""
        assert self._secured is not None
        tls = self._secured.identities.client(device, self._folder)
        take_over(self._reachable, self.tls_port, device, tls)

    def renewed(self) -> None:
        """The server's certificate was renewed: newcomers are to see the new one. Raises EdgeliftError."""
        if self._secured is None:
            return
        if not self._write_certificates(self._secured):
            self._tell()
            return
        log.info("others vouch for devices now: mosquitto is started again")
        if self._revocations is not None:
            self._revocations.write()
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def _write_certificates(self, secured: ByCertificate) -> bool:
        """Whether others may vouch for devices than before: that mosquitto reads only once."""
        with disk_errors("the broker's certificates"):
            write_atomically(self._folder / conf.CERTIFICATE, secured.certificate.read_bytes(), mode=0o600)
            authorities = secured.identities.certificates().encode()
            path = self._folder / conf.AUTHORITIES
            changed = not path.exists() or path.read_bytes() != authorities
            write_atomically(path, authorities, mode=0o600)
        return changed

    def __enter__(self) -> Broker:
        self._prepare()
        if self._secured is not None:
            self._write_certificates(self._secured)
            self._revocations = Revocations(
                self._secured.identities, self._folder / conf.REVOKED, tell=self._tell, end=self._end_session
            )
            self._revocations.__enter__()
        self._thread.start()
        self._passwords.start()
        while not self._up.wait(0.05):
            if not self._thread.is_alive():  # it gives up after `_START_S`, or when mosquitto ended
                raise self._failed or DeviceError("internal", "mosquitto did not start.", hint=self._last_words())
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._passwords.stop()
        if self._revocations is not None:
            self._revocations.__exit__()
        self._thread.join(_STOP_S + 2)

    def _prepare(self) -> None:
        with disk_errors("the broker's folder"):
            (self._folder / "memory").mkdir(parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            self._choose_ports()
            self._passwords.write()
            write_atomically(self._folder / conf.ACCESS, ACL.encode(), mode=0o600)
            connections = places_for(descriptors_limit(), conf.MAX_CONNECTIONS)
            alone = self._secured is not None and self._secured.alone
            text = conf.head(" at every start", user="root" if os.geteuid() == 0 else "")
            text += conf.by_password(_LOOPBACK if alone else self.host, self.port, connections)
            if self._secured is not None:
                text += conf.by_certificate(self.host, self.tls_port, connections)
            write_atomically(self._folder / conf.CONF, text.encode(), mode=0o600)

    def _choose_ports(self) -> None:
        """The port that was asked for is the devices': of TLS where none comes without a certificate."""
        if self._secured is not None:
            alone = self._secured.alone
            self.tls_port = self._choose_port(self.port if alone else 0, "tls-port", self.host)
            self.port = self._choose_port(0 if alone else self.port, "port", _LOOPBACK if alone else self.host)
        else:
            self.port = self._choose_port(self.port, "port", self.host)

    def _choose_port(self, asked: int, name: str, host: str) -> int:
        if asked:
            if self._is_free(asked, host):
                return asked
            raise DeviceError(
                "port-in-use",
                f"Port {asked} on {host} is in use by another program.",
                hint="Choose another with --mqtt-port, or stop that program.",
            )
        # Devices were told the old port at their enrolment: keeping it spares them a detour over HTTP.
        try:
            wanted = int((self._folder / name).read_text())
        except (OSError, ValueError):
            wanted = 0
        taken = {self.port, self.tls_port}
        found = next(
            (
                one
                for one in (wanted, *random.sample(_PORTS, 100))
                if one and one not in taken and self._is_free(one, host)
            ),
            0,
        )
        if not found:
            with socket.create_server((host, 0), family=_family(host)) as probe:
                found = int(probe.getsockname()[1])
        write_atomically(self._folder / name, f"{found}\n".encode())
        return found

    @staticmethod
    def _is_free(port: int, host: str) -> bool:
        try:
            socket.create_server((host, port), family=_family(host)).close()
        except OSError:
            return False
        return True

    def _supervise(self) -> None:
        tries = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_once()
            except (OSError, DeviceError) as error:
                self._failed = error
            if self._stopping.is_set() or not self._up.is_set():
                return  # wanted, or it never came up: `__enter__` tells
            tries = 0 if time.monotonic() - began > _STEADY_S else tries + 1
            pause_s = _BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)]
            log.warning("mosquitto ended, starting it again in %.1f s: %s", pause_s, self._last_words())
            self._stopping.wait(pause_s)

    def _run_once(self) -> None:
        # Below its own folder every name is ours, whatever the path to it holds.
        command = [self._program, "-c", conf.CONF]
        with (self._folder / "log").open("wb") as output, (self._folder / "running").open("wb") as running:
            self._wait_alone(running.fileno())
            process = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _LAUNCHER, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=self._folder,
                pass_fds=(running.fileno(),),
            )  # fmt: skip
        with self._lock:
            self._process = process
        try:
            self._wait_answering(process)
            with self._lock:
                self._answers = True
            self._passwords.tell_again()  # what changed after it had read its files
            self._up.set()
            while process.poll() is None and not self._stopping.wait(0.2):
                pass
        finally:
            with self._lock:
                self._answers = False
            self._end(process)

    def _wait_alone(self, running: int) -> None:
        """Until the mosquitto before has ended, which holds the lock as long as it lives: one whose server was killed may
        still be writing what it remembers.
        """
        deadline = time.monotonic() + _START_S
        while not self._stopping.is_set():
            try:
                fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    log.warning("the mosquitto before does not end: another is started beside it")
                    return
                time.sleep(0.02)

    def _wait_answering(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_S
        host = _LOOPBACK if self._secured is not None and self._secured.alone else self._reachable
        while process.poll() is None and time.monotonic() < deadline and not self._stopping.is_set():
            # An answer, not a connection: it listens before it has a handler for the signal, which would end it.
            if answers(host, self.port, PROBE_USER, self.password(PROBE_USER)):
                return
            time.sleep(0.02)
        raise DeviceError("internal", f"mosquitto did not start: {self._last_words()}")

    @property
    def _reachable(self) -> str:
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()  # its memory is written to disk on SIGTERM
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _last_words(self) -> str:
        try:
            lines = (self._folder / "log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing."


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
