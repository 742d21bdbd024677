"""Sites whose devices have certificates, and devices that enrol by a token."""

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import requests
from requests.adapters import HTTPAdapter
from tests.fleet.conftest import Server
from tests.simulators.device import Device
from tests.waiting import LONG_S

from edgelift_contract.identity import EnrolToken, dump_token, parse_token
from edgelift_fleet.client import Client
from edgelift_fleet.messages import DeviceSummary, TokenMade, TokenRequest
from edgelift_fleet.site import allow_shared_token, load_site, write_config


def secure(site: Path) -> None:
    """From now on its devices have certificates."""
    loaded = load_site(site)
    write_config(loaded.folder, msgspec.structs.replace(loaded.config, tls=True))


def plain(site: Path) -> None:
    """Its devices share a token, as on a site of an older release."""
    loaded = load_site(site)
    write_config(loaded.folder, msgspec.structs.replace(loaded.config, tls=False))
    allow_shared_token(loaded)


def operator(server: Server) -> Client:
    """Whoever runs it."""
    return Client(server.url, server.operator, ca_file=str(server.site / "secrets" / "authority"))


def link(server: Server, name: str = "pi-1") -> str:
    """What a device comes by now; empty while it isn't there."""
    found = operator(server).get("/v1/devices", list[DeviceSummary])
    return next((one.transport for one in found if one.device == name and one.online), "")


def make_token(server: Server, **wanted: object) -> str:
    """A token of this server's, for its own address."""
    request = msgspec.convert(wanted, TokenRequest)
    return operator(server).post("/v1/tokens", request, TokenMade).token


def enroll(device: Device, token: str, *more: str) -> subprocess.CompletedProcess[str]:
    """`edgelift-agent enroll`, with a device's configuration, which names no token."""
    text = device.config.read_text()
    device.config.write_text(re.sub(r'\ntoken = "[^"]*"', "", text))
    return subprocess.run(
        [sys.executable, "-m", "edgelift_agent.cli", "--config", str(device.config), "enroll", *more],
        input=token, capture_output=True, text=True, timeout=LONG_S, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


def another_pin(token: str) -> str:
    """The token, as if it were another site's."""
    read: EnrolToken = parse_token(token)
    return dump_token(msgspec.structs.replace(read, pin="00" * 32))


def as_device(device: Device, authorities: Path) -> requests.Session:
    """What calls the server with a device's certificate."""
    tls = ssl.create_default_context(cafile=str(authorities))
    tls.check_hostname = False
    tls.load_cert_chain(device.state / "identity" / "device.pem")
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _By(tls))
    return session


class _By(HTTPAdapter):
    """HTTPS by this context, and by nothing else."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._tls, assert_hostname=False)

    def cert_verify(self, *_: Any) -> None:
        """Nothing: the context does, and requests would let the world's authorities vouch."""
