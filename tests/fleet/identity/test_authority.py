"""The site's authority is changed while its server and its devices run, and made anew after its key was lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.sites import enroll, link, make_token, secure
from tests.simulators.device import Device

from edgelift_contract.identity import parse_token
from edgelift_fleet.files import write_atomically
from edgelift_fleet.first_contact import offered_authorities
from edgelift_fleet.identity import files
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.identity.files import authorities_of, authority_of, certificates_of, keep_authorities
from edgelift_fleet.site import create_site, load_site, write_config
from edgelift_fleet.testing import wait_until

pytestmark = pytest.mark.fleet


@pytest.fixture
def server(site: Path, mosquitto_program: str) -> Iterator[Server]:
    secure(site)
    write_config(site, msgspec.structs.replace(load_site(site).config, seen_flush_s=0.3))
    with Server(site) as made:
        yield made


@pytest.fixture
def devices(server: Server, tmp_path: Path) -> Iterator[tuple[Device, Device]]:
    one, two = (Device(tmp_path / name, server.url, "none", name=name) for name in ("pi-1", "pi-2"))
    with one, two:
        yield one, two


def authority(server: Server, *words: str) -> Any:
    done = edgelift("authority", *words, "--site", server.site, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(server: Server, *words: str) -> str:
    done = edgelift("authority", *words, "--site", server.site)
    assert done.returncode == 1
    return done.stderr


def counts(server: Server) -> list[int]:
    return [one["devices"] for one in authority(server, "show")["authorities"]]


def test_it_is_changed_and_no_device_is_lost_but_who_is_left_behind(
    server: Server, devices: tuple[Device, Device]
) -> None:
    there, away = devices
    token = make_token(server, uses=9)
    for one in devices:
        assert enroll(one, token).returncode == 0
    there.start()
    wait_until(lambda: link(server) == "mqtt", what="the device, by the old one's certificate")
    assert counts(server) == [2] and "(conflict)" in refused(server, "finish")

    for why in ("x" * 501, "its key \udcff"):
        assert "(malformed)" in refused(server, "rotate", "--why", why)
    made = authority(server, "rotate", "--why", "its key was seen")
    assert counts(server) == [0, 2] and "(conflict)" in refused(server, "rotate")
    again = parse_token(make_token(server)).pin
    assert again == parse_token(token).pin != made["pin"], "a device that comes now meets the old one"
    said = edgelift("authority", "show", "--site", server.site).stdout
    assert f"{made['pin']}: signs;" in said and f"{again}: is shown;" in said and "pi-1, pi-2" in said
    assert [*offered_authorities(server.url)] == [made["pin"], again]
    there.stop()
    there.start()
    wait_until(lambda: counts(server) == [1, 1], what="the device to have shown a certificate of the new one")
    wait_until(lambda: link(server) == "mqtt", what="it over MQTT, by that")
    assert "pi-2" in refused(server, "finish")

    done = authority(server, "finish", "--force", "--why", "pi-2 is in a drawer")
    assert (done["left"], done["tokens"], counts(server)) == (["pi-2"], 2, [1])
    log = json.loads(edgelift("audit", "--site", server.site, "--json").stdout)
    assert [(one["operation"], one["why"]) for one in log if one["operation"].startswith("authority")] == [
        ("authority-finish", "pi-2 is in a drawer"), ("authority-rotate", "its key was seen"),
    ]  # fmt: skip
    wait_until(lambda: parse_token(make_token(server)).pin == made["pin"], what="the server to show the new one's")
    wait_until(lambda: link(server) == "mqtt", what="the device, which trusts the new one")
    lost = enroll(away, token, "--again")
    assert lost.returncode == 1 and "(tls-failed)" in lost.stderr
    assert enroll(away, make_token(server), "--again").returncode == 0
    away.start()
    wait_until(lambda: link(server, "pi-2"), what="who was left behind, enrolled again")
    assert counts(server) == [2]


def test_after_a_loss_devices_are_enrolled_again_and_serve_on_meanwhile(
    server: Server, devices: tuple[Device, Device]
) -> None:
    device, _ = devices
    assert enroll(device, make_token(server)).returncode == 0
    device.start()
    wait_until(lambda: link(server) == "mqtt", what="the device")
    assert device.process is not None
    pid = device.process.pid

    for name in ("authority", "authority-key"):
        (server.site / "secrets" / name).unlink()
    said = refused(server, "make")
    assert "1 devices" in said and "--again" in said
    done = authority(server, "make", "--again")
    assert done["left"] == ["pi-1"]
    wait_until(lambda: "code=tls-failed" in device.log.read_text(), what="the device to trust it no more")
    refusal = enroll(device, make_token(server))
    assert refusal.returncode == 1 and "(conflict)" in refusal.stderr
    assert enroll(device, make_token(server), "--again").returncode == 0
    wait_until(lambda: link(server) == "mqtt", what="the same agent, enrolled again")
    assert device.process.pid == pid and device.process.poll() is None


def test_a_power_cut_while_it_changes_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, _ = create_site(tmp_path / "site")
    old = authority_of(site)
    new = Authority.make("new", 1_800_000_000.0)
    left = 0

    def cut(path: Path, data: bytes, *, mode: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        write_atomically(path, data, mode=mode)

    monkeypatch.setattr(files, "write_atomically", cut)
    for wanted in ([new, old], [new]):
        before = certificates_of(site)
        for allowed in range(4):
            left = allowed
            try:
                keep_authorities(site, wanted)
            except KeyboardInterrupt:
                assert certificates_of(site) in (before, [one.certificate for one in wanted])
            assert [one.certificate for one in authorities_of(site)] == certificates_of(site)
        assert certificates_of(site) == [one.certificate for one in wanted]
    keys = (site.folder / "secrets" / "authority-key").read_bytes()
    assert keys == new.key, "the old one's key is gone"
