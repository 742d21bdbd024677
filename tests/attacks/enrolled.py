"""An agent's own part that knows who it is: enrolled, by the agent's own code, at an authority of a test's."""

from __future__ import annotations

import time
from pathlib import Path

from edgelift_agent.config import Config
from edgelift_agent.identity.identity import DeviceIdentity
from edgelift_agent.identity.kept import IdentityFiles
from edgelift_agent.link.http import HttpTransport
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_contract.identity import Certified
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.identity.metrics_authority import MetricsAuthority

DEVICE, OLD_TOKEN = "pi-1", "the-old-shared-token"


class Enrolled:
    """`pi-1`, which was called by plain HTTP and a shared token once, and has a certificate now.

    Attributes:
        plain: URL in its configuration.
        url: of the control plane, HTTPS.
    """

    def __init__(self, folder: Path, authority: Authority, plain: str, url: str) -> None:
        self.state, self.authority, self.plain, self.url = folder / "state", authority, plain, url
        self.state.mkdir()
        self.take(self.started())

    def started(self) -> DeviceIdentity:
        """The part as after a start of the agent."""
        self.degraded = Degraded(SystemClock())
        return DeviceIdentity(IdentityFiles(self.state, Disk()), self.degraded, DEVICE, self.plain, lambda: 0.0)

    def take(self, identity: DeviceIdentity) -> Certified:
        """It asks for a certificate, gets one, and settles; gives the answer by which it did."""
        identity.want()
        made = self.certify(identity.request())
        assert identity.take(made, self.url) is not None
        identity.settle()
        return made

    def certify(self, csr: str) -> Certified:
        made = self.authority.issue_device(DEVICE, csr, time.time())
        metrics = MetricsAuthority(self.authority).issue(made.pem)
        return Certified(certificate=made.pem, authorities=self.authority.certificate, metrics=metrics)

    def http(self, identity: DeviceIdentity) -> HttpTransport:
        """How it calls."""
        return HttpTransport(self.plain, OLD_TOKEN, DEVICE, timeout_s=20.0, way=identity.way)

    def config(self) -> Config:
        """What stands in its configuration."""
        from edgelift_agent.config import load_config

        file = self.state.parent / "agent.toml"
        file.write_text(
            f'device = "{DEVICE}"\nstate_dir = "{self.state}"\n[host]\nurl = "{self.plain}"\ntoken = "{OLD_TOKEN}"\n'
            "[serve]\nport = 0\nadmin_port = 0\n"
        )
        return load_config(file)
