"""Alerts as people ask for them: over HTTP, by role, and on the command line; and a server that tells by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from tests.fleet.alerts.listening import KEY, Http, listening_http, verify
from tests.fleet.conftest import Server, edgelift
from tests.fleet.in_process import Api, api_of
from tests.waiting import until

from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.alert_settings import AlertSettings, MailSettings, WebhookSettings
from edgelift_fleet.db import SITE
from edgelift_fleet.messages.people import AccessRequest
from edgelift_fleet.people.roles import OWNER
from edgelift_fleet.site import load_site, write_config
from edgelift_fleet.tables import AlertSilenceRow, DeviceRow

pytestmark = pytest.mark.fleet


@pytest.fixture
def http() -> Iterator[Http]:
    with listening_http() as made:
        yield made


@pytest.fixture
def told(site: Path, http: Http) -> Path:
    """A site with a receiver."""
    (site / "secrets" / "hook").write_text(KEY)
    (site / "secrets" / "hook").chmod(0o600)
    hook = WebhookSettings(name="ops", url=http.url, secret_file="secrets/hook")
    quick = AlertSettings(
        every_s=0.1, silent_for_s=1.0, gather_s=0.0, ends_after_s=0.0, link="https://f", receivers=[hook]
    )
    write_config(site, replace(load_site(site).config, alerts=quick))
    return site


@pytest.fixture
def api(told: Path) -> Iterator[Api]:
    with api_of(told) as made:
        yield made


def silent(api: Api, *names: str) -> None:
    """Boards that were not heard for long."""
    api.boards.add(*names)
    api.fleet.seen.flush(api.fleet.db)
    with api.boards.db.write(SITE) as session:
        session.execute(sa.update(DeviceRow).values(last_seen=1.0, presence_online=False))
    with api.fleet.lead:
        api.fleet.alerts.rounds().look(1_795_000_000.0)


def test_what_stands_is_listed_silenced_and_heard_again(api: Api) -> None:
    assert api.get("/v1/alerts") == []
    silent(api, "pi-1", "pi-2")
    (alert,) = api.get("/v1/alerts")
    assert (alert["code"], alert["count"], alert["state"], alert["link"]) == ("offline", 2, "told", "https://f/")
    assert [one["name"] for one in alert["subjects"]] == ["pi-1", "pi-2"] and alert["todo"].startswith(
        "Look whether"
    )
    wanted = {"code": "offline", "for_s": 3600, "to": "id:pi-1", "why": "its roof"}
    made = api.post("/v1/alerts/silences", wanted)
    assert (made["state"], made["made_by"], made["why"]) == ("holds", "site", "its roof")
    assert api.get("/v1/alerts")[0]["silenced"] == 1
    assert api.get("/v1/alerts/silences") == [made]
    ended = api.http.delete(f"/v1/alerts/silences/{made['id']}").json()
    assert ended["state"] == "ended" and api.get("/v1/alerts")[0]["silenced"] == 0
    assert api.http.delete(f"/v1/alerts/silences/{made['id']}").json() == ended
    assert api.http.delete("/v1/alerts/silences/00000000").json()["code"] == "not-found"


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"code": "ofline", "for_s": 60}, "not-found"),
        ({"code": "offline", "for_s": 60, "to": "tag:"}, "bad-id"),
        ({"code": "gate-breach", "for_s": 60, "rollout": "7"}, "bad-id"),
        ({"code": "gate-breach", "for_s": 60, "to": "all"}, "conflict"),
        ({"code": "offline", "for_s": 60, "rollout": "r7"}, "conflict"),
        ({"code": "offline", "for_s": 0}, "malformed"),
        ({"code": "offline", "for_s": 1e9}, "malformed"),
    ],
)
def test_a_silence_of_nothing_is_refused(api: Api, wanted: dict[str, object], code: str) -> None:
    assert api.http.post("/v1/alerts/silences", json=wanted).json()["code"] == code
    assert api.get("/v1/alerts/silences") == []


def test_silences_are_bounded_and_go_once_they_are_long_over(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelift_fleet.alerts.silences.MAX_SILENCES", 1)
    api.post("/v1/alerts/silences", {"code": "offline", "for_s": 60})
    refused = api.http.post("/v1/alerts/silences", json={"code": "offline", "for_s": 60})
    assert refused.json()["code"] == "too-large"
    with api.boards.db.write(SITE) as session:
        session.execute(sa.update(AlertSilenceRow).values(until=1.0))
    api.post("/v1/alerts/silences", {"code": "offline", "for_s": 60})
    assert len(api.get("/v1/alerts/silences")) == 1


def test_a_viewer_reads_and_an_operator_silences_and_tests(api: Api, http: Http) -> None:
    for role, may in (("viewer", False), ("operator", True)):
        token = api.fleet.people.make_access(AccessRequest(role), OWNER).token
        bearer = {"Authorization": f"Bearer {token}"}
        for path in ("/v1/alerts", "/v1/alerts/silences", "/v1/alerts/receivers"):
            assert api.http.get(path, headers=bearer).status_code == 200
        asked = (("/v1/alerts/silences", {"code": "hot", "for_s": 60}), ("/v1/alerts/receivers/ops/test", {}))
        for path, body in asked:
            assert api.http.post(path, json=body, headers=bearer).status_code == (200 if may else 403)
    assert [one["type"] for one in http.bodies()] == ["alert.test"]
    logged = [(one["operation"], one["outcome"], one["about"]) for one in api.get("/v1/audit", joined=True)]
    assert ("silence_alert", "done", "code=hot, for_s=60") in logged
    assert ("test_receiver", "role-too-low", "receiver=ops") in logged


def test_receivers_are_shown_without_secrets_and_tested_for_real(api: Api, http: Http) -> None:
    silent(api, "pi-1")
    (shown,) = api.get("/v1/alerts/receivers")
    assert (shown["name"], shown["kind"], shown["waiting"], shown["where"]) == (
        "ops", "webhook", 1, http.url.removeprefix("http://"),
    )  # fmt: skip
    assert KEY not in json.dumps(shown)
    assert api.post("/v1/alerts/receivers/ops/test", {}) == {
        "receiver": "ops", "taken": True, "said": "HTTP 200: thank you",
    }  # fmt: skip
    assert verify(http.came[0][1], http.came[0][2]).startswith("test-")
    http.answers = [(403, {}, b"who are you?")]
    assert api.post("/v1/alerts/receivers/ops/test", {})["said"] == "HTTP 403: who are you?"
    assert api.http.post("/v1/alerts/receivers/nobody/test", json={}).json()["code"] == "not-found"


def test_settings_of_a_site_are_read_as_they_were_written(told: Path) -> None:
    config = load_site(told).config
    mail = MailSettings(name="barn", host="smtp.example", sender="a@b", to=["c@d", 'e"@f'], timeout_s=2.5)
    both = replace(config, alerts=replace(config.alerts, receivers=[*config.alerts.receivers, mail]))
    write_config(told, both)
    assert load_site(told).config == both


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[alerts]\nhot_c = 900", "hot_c"),
        ("[alerts]\nhot = 80", "hot"),
        ('[[alerts.receivers]]\nkind = "pager"\nname = "x"', "kind"),
        ('[[alerts.receivers]]\nkind = "webhook"\nname = "X"\nurl = "https://x"', "name"),
        ('[[alerts.receivers]]\nkind = "mail"\nname = "x"\nhost = "h"\nsender = "a@b"\nto = []', "to"),
        ("[[alerts.receivers]]\n" * 17, "receivers"),
    ],
)
def test_a_setting_that_is_none_is_refused_by_its_name(site: Path, line: str, said: str) -> None:
    with (site / "site.toml").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises((DeviceError, ContractError)) as caught:
        load_site(site)
    assert caught.value.code == "bad-config" and said in caught.value.message


def test_a_server_is_not_started_with_a_receiver_that_is_none(told: Path) -> None:
    (told / "secrets" / "hook").chmod(0o644)
    ended = edgelift("serve", "--site", told, "--port", "0", "--broker", "none")
    assert ended.returncode == 1 and "(bad-config)" in ended.stderr and "chmod 600" in ended.stderr
    assert KEY not in ended.stderr


def test_devices_are_named_in_one_way_alone(site: Path) -> None:
    both = edgelift("alert", "silence", "hot", "--for", "1h", "--device", "a", "--tags", "b", "--site", site)
    assert both.returncode == 1 and "(malformed)" in both.stderr


def test_a_server_tells_by_itself_and_commands_show_it(told: Path, http: Http) -> None:
    with api_of(told) as made:
        made.boards.add("pi-1")
        made.boards.seen.flush(made.boards.db)
        with made.boards.db.write(SITE) as session:
            session.execute(sa.update(DeviceRow).values(last_seen=1.0, presence_online=False))
    with Server(told, "--broker", "none") as server:
        until(lambda: http.came, "it told")
        verify(http.came[0][1], http.came[0][2])
        assert http.bodies()[0]["data"]["what"] == "pi-1 is offline."
        shown = edgelift("alert", "list", "--site", told).stdout
        assert "critical offline (told " in shown and "pi-1 is offline." in shown
        of_one = ("offline", "--for", "2h", "--device", "pi-1", "--why", "its roof")
        silenced = edgelift("alert", "silence", *of_one, "--site", told).stdout
        assert "nobody is told of offline of ids:pi-1 until" in silenced
        listed = edgelift("alert", "silences", "--site", told).stdout
        name = silenced.split()[1].rstrip(":")
        assert name in listed and "holds" in listed and "its roof" in listed
        assert f"The silence {name} is ended." in edgelift("alert", "unsilence", name, "--site", told).stdout
        http.answers = [(500, {}, b"")] * 20
        failed = edgelift("alert", "test", "ops", "--site", told)
        assert failed.returncode == 1 and "did not take it: HTTP 500" in failed.stdout
    assert KEY not in server.log.read_text()
