"""Proxies on the way: one that the environment names, and what stands before a server."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import requests
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.sites import as_device, enroll, make_token, operator, secure
from tests.simulators.balancer import Balancer
from tests.simulators.certificates import make_certificate
from tests.simulators.connect_proxy import ConnectProxy, EndsTls
from tests.simulators.device import Device

from edgelift_contract.errors import TransportError
from edgelift_contract.identity import dump_token, parse_token
from edgelift_contract.proxies import proxy_for
from edgelift_fleet.client import Client
from edgelift_fleet.messages import AuditEntry, DeviceSummary, ServerHealth
from edgelift_fleet.site import load_site, write_config
from edgelift_fleet.testing import wait_until

pytestmark = pytest.mark.fleet

NAME = "fleet.test"  # which the proxy alone knows


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    secure(site)
    write_config(site, msgspec.structs.replace(load_site(site).config, names=[NAME]))
    with Server(site, "--broker", "none") as made:
        yield made


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def online(server: Server) -> bool:
    return any(one.online for one in operator(server).get("/v1/devices", list[DeviceSummary]))


def token_for(server: Server, url: str) -> str:
    return dump_token(msgspec.structs.replace(parse_token(make_token(server)), url=url))


def test_a_device_enrols_and_lives_by_a_proxy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://{NAME}:{port_of(server)}"
    device = Device(tmp_path / "pi-1", url, "none")
    with ConnectProxy(lambda: port_of(server), NAME) as proxy, ConnectProxy(lambda: 0, refuses=True) as refusing:
        monkeypatch.setenv("https_proxy", refusing.url)
        refused = enroll(device, token_for(server, url))
        assert refused.returncode == 1 and "by the proxy of HTTPS_PROXY" in refused.stderr
        assert "407" in refused.stderr and "(unreachable)" in refused.stderr
        monkeypatch.setenv("https_proxy", proxy.url)
        done = enroll(device, token_for(server, url))
        assert done.returncode == 0, done.stderr
        device.environment = {"https_proxy": proxy.url}
        device.start()
        try:
            wait_until(lambda: online(server), what="the device, by the proxy")
        finally:
            device.stop()
        # Both sides show who they are to each other, and the proxy sees bytes.
        assert set(proxy.asked) == {f"{NAME}:{port_of(server)}"}


def test_the_hosts_client_goes_by_a_proxy_over_https_alone(
    server: Server, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, ca_file = f"https://{NAME}:{port_of(server)}", str(site / "secrets" / "authority")

    def broker(url: str) -> str:
        client = Client(url, server.operator, ca_file=ca_file, patient=False)
        return client.get("/v1/health", ServerHealth).broker

    with ConnectProxy(lambda: port_of(server), NAME) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        assert broker(url) == "none" and len(proxy.asked) == 1
        for name, value in (("http_proxy", proxy.url), ("no_proxy", NAME)):
            monkeypatch.setenv(name, value)
            with pytest.raises(TransportError):
                broker(url if name == "no_proxy" else url.replace("https", "http"))
        assert len(proxy.asked) == 1


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("https://a.example", {"https_proxy": "p:3128"}, "http://p:3128"),
        ("https://a.example", {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://a.example", {"all_proxy": "http://p:3128"}, "http://p:3128"),
        ("http://a.example", {"http_proxy": "http://p:3128", "https_proxy": "http://p:3128"}, ""),
        ("https://a.example", {"http_proxy": "http://p:3128"}, ""),
        ("https://a.example", {"https_proxy": "http://p:3128", "no_proxy": ".example"}, ""),
        ("https://a.example:8470", {"https_proxy": "http://p:3128", "no_proxy": "a.example:8470"}, ""),
        ("https://a.example", {"https_proxy": "http://p:3128", "no_proxy": "*"}, ""),
        ("https://10.1.2.3", {"https_proxy": "http://p:3128", "no_proxy": "10.0.0.0/8"}, ""),
        ("https://11.1.2.3", {"https_proxy": "http://p:3128", "no_proxy": "10.0.0.0/8,x"}, "http://p:3128"),
        ("https://127.0.0.1", {"https_proxy": "http://p:3128"}, ""),
        ("https://[::1]:8470", {"https_proxy": "http://p:3128"}, ""),
        ("https://localhost", {"https_proxy": "http://p:3128"}, ""),
        ("nothing", {"https_proxy": "http://p:3128"}, ""),
    ],
)
def test_which_proxy(
    url: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == expected


def test_before_the_server_tls_is_passed_through_for_devices(server: Server, tmp_path: Path) -> None:
    with Balancer(server.url) as relay:
        url = relay.url.replace("http:", "https:")
        device = Device(tmp_path / "pi-1", url, "none")
        done = enroll(device, token_for(server, url))
        assert done.returncode == 0, done.stderr
        device.start()
        try:
            wait_until(lambda: online(server), what="the device, through the relay")
        finally:
            device.stop()


def test_what_ends_tls_before_the_server_serves_operators_and_no_devices(
    server: Server, site: Path, tmp_path: Path
) -> None:
    own, authorities = make_certificate(tmp_path / "proxys"), site / "secrets" / "authority"
    device = Device(tmp_path / "pi-1", server.url, "none")
    assert enroll(device, make_token(server)).returncode == 0
    with EndsTls(port_of(server), own, str(authorities)) as proxy:
        health = Client(proxy.url, server.operator, ca_file=str(own.path)).get("/v1/health", ServerHealth)
        assert health.broker == "none"
        asked = as_device(device, own.path).get(f"{proxy.url}/v1/devices/pi-1/desired")
        assert (asked.status_code, asked.json()["code"]) == (401, "not-authorised")


@pytest.mark.parametrize("named", [(), ("--behind-proxy", "10.9.9.9"), ("--behind-proxy", "127.0.0.1")])
def test_only_a_proxy_that_was_named_is_believed_from_where_requests_come(
    site: Path, named: tuple[str, ...]
) -> None:
    server = Server(site, "--broker", "none", *named, env={"FORWARDED_ALLOW_IPS": "*"}).start()
    try:
        said = {"X-Forwarded-For": "203.0.113.9"}
        requests.post(f"{server.url}/v1/login", json={"name": "x", "password": "x"}, headers=said, timeout=30)
        (entry,) = Client(server.url, server.operator).get("/v1/audit", list[AuditEntry])
        assert entry.address == ("203.0.113.9" if "127.0.0.1" in named else "127.0.0.1")
    finally:
        server.stop()


def test_what_is_no_address_of_a_proxy_is_told(site: Path) -> None:
    write_config(site, msgspec.structs.replace(load_site(site).config, behind_proxy=["*"]))
    done = edgelift("serve", "--site", site)
    assert done.returncode == 1 and "'*' is no address of a proxy" in done.stderr and "(bad-config)" in done.stderr
