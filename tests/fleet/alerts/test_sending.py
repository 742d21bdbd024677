"""Webhook, ntfy and mail against receivers that are real, and what is said of those that don't take it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.fleet.alerts.listening import KEY, MESSAGE, Http, listening_http, listening_mail, verify
from tests.simulators.certificates import Certificate, make_certificate

from edgelift_contract.errors import DeviceError
from edgelift_fleet.alert_settings import AlertSettings, AnyReceiver
from edgelift_fleet.alerts.answers import Receipt
from edgelift_fleet.alerts.receivers import Receiver, receivers_of
from edgelift_fleet.alerts.sender import FIRST_S, LONGEST_S, TRIES, delay_s
from edgelift_fleet.alerts.webhook import key_of, signed

pytestmark = pytest.mark.fleet


@pytest.fixture
def http() -> Iterator[Http]:
    with listening_http() as made:
        yield made


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path / "tls")


def one(folder: Path, secret: str = KEY, **settings: Any) -> Receiver:
    """A receiver as `site.toml` would have it, with its secret in a file."""
    if secret:
        (folder / "secret").write_text(secret + "\n")
        (folder / "secret").chmod(0o600)
        settings = {"secret_file": "secret", **settings}
    kind: Any = AnyReceiver
    (made,) = receivers_of([msgspec.convert({"name": "ops", **settings}, kind)], folder)
    return made


def webhook(folder: Path, url: str, **settings: Any) -> Receiver:
    return one(folder, kind="webhook", url=url, **settings)


def test_a_webhook_is_signed_and_verified_by_the_specification(tmp_path: Path, http: Http) -> None:
    assert webhook(tmp_path, f"{http.url}/hook?a=b").send(MESSAGE) == Receipt(True, "HTTP 200: thank you")
    ((path, headers, body),) = http.came
    assert (path, verify(headers, body)) == ("/hook?a=b", "alert-1")
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300
    sent = http.bodies()[0]
    assert (sent["type"], sent["timestamp"]) == ("alert.begun", "2026-11-18T11:21:40Z")
    assert msgspec.convert(sent["data"], type(MESSAGE)) == MESSAGE


def test_the_signature_of_a_key_in_base64_is_the_specifications_own_example() -> None:
    # The vector of the specification's reference libraries.
    headers = signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}',
        key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    )  # fmt: skip
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {}, b"out of order"), "HTTP 500: out of order"),
        ((401, {}, b""), "HTTP 401"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "HTTP 302: it points elsewhere"),
        ((200, {}, b"\x1b[31mred\xff"), "HTTP 200: \ufffd[31mred\ufffd"),
    ],
)  # fmt: skip
def test_what_a_receiver_says_is_told_in_clean_words(
    tmp_path: Path, http: Http, answer: tuple[int, dict[str, str], bytes], said: str
) -> None:
    http.answers = [answer]
    got = webhook(tmp_path, http.url).send(MESSAGE)
    assert got.said.startswith(said) and got.taken == (answer[0] == 200) and len(http.came) == 1


def test_a_receiver_says_when_to_come_again_or_never(tmp_path: Path, http: Http) -> None:
    later = formatdate(time.time() + 1200, usegmt=True)
    asked = ["120", "999999999", "-5", "soon", later]
    http.answers = [(503, {"Retry-After": text}, b"") for text in asked] + [(410, {}, b"")]
    got = [webhook(tmp_path, http.url).send(MESSAGE) for _ in range(6)]
    assert [one.retry_after_s for one in got[:4]] == [120.0, 3600.0, 0.0, 0.0] and 1000 < got[
        4
    ].retry_after_s <= 1200
    assert [one.gone for one in got] == [False] * 5 + [True]


def test_a_huge_answer_is_not_read(tmp_path: Path, http: Http) -> None:
    http.answers = [(200, {}, b"x" * 3_000_000)]
    got = webhook(tmp_path, http.url).send(MESSAGE)
    assert got.taken and len(got.said) <= 300


def test_one_that_hangs_and_one_that_is_away_are_given_up(tmp_path: Path, http: Http) -> None:
    http.answers = [(0, {}, b"")]
    assert "timed out" in webhook(tmp_path, http.url, timeout_s=0.05).send(MESSAGE).said
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        got = webhook(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}").send(MESSAGE)
    assert (got.taken, got.said) == (False, "ConnectionError: Connection refused")


def test_tls_is_verified(tmp_path: Path, certificate: Certificate) -> None:
    with listening_http((certificate.path, certificate.key)) as https:
        refused = webhook(tmp_path, https.url).send(MESSAGE)
        assert not refused.taken and "certificate" in refused.said.lower() and not https.came
        assert webhook(tmp_path, https.url, ca_file="tls/cert.pem").send(MESSAGE).taken


def test_ntfy_gets_title_text_priority_tags_and_link(tmp_path: Path, http: Http) -> None:
    ntfy = one(tmp_path, "tk_1234", kind="ntfy", url=f"{http.url}/farm")
    said = replace(MESSAGE, site="Höfe 🐄", what="Stall-7 ist „still“.")
    assert ntfy.send(said).taken
    ((path, headers, _),) = http.came
    assert (path, headers["authorization"]) == ("/", "Bearer tk_1234")
    sent = http.bodies()[0]
    assert sent["title"] == "[Höfe 🐄] Stall-7 ist „still“."
    assert (sent["topic"], sent["priority"], sent["click"]) == ("farm", 5, MESSAGE.link)
    assert sent["tags"] == ["rotating_light", "offline"] and "What to do: Look." in sent["message"]
    ntfy.send(replace(said, event="ended", details=["x" * 9000], count=2))
    assert http.bodies()[1]["priority"] == 2 and len(http.bodies()[1]["message"].encode()) <= 4096


def mail(folder: Path, port: int, secret: str = "", **settings: Any) -> Receiver:
    settings = {"security": "none", "to": ["maria@farm.example"], **settings}
    return one(
        folder, secret, kind="mail", host="127.0.0.1", port=port, sender="edgelift@farm.example", **settings
    )


def test_a_mail_is_plain_text_with_an_id_of_its_own(tmp_path: Path) -> None:
    with listening_mail() as box:
        to = ["maria@farm.example", "jo@farm.example"]
        said = replace(MESSAGE, site="Höfe\r\nBcc: x@example", what="pi-7 is silent.\nBcc: y@example")
        assert mail(tmp_path, box.port, to=to).send(said) == Receipt(True, "taken")
    ((sender, recipients, came),) = box.mails
    assert (sender, recipients) == ("edgelift@farm.example", to)
    assert came["Message-ID"] == "<alert-1@farm.example>" and came["Auto-Submitted"] == "auto-generated"
    assert came["Bcc"] is None and came["Subject"].startswith("[Höfe\ufffd Bcc: x@example] pi-7 is silent. Bcc: y")
    assert came.get_content_type() == "text/plain" and "What to do: Look." in came.get_content()


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_mail_over_verified_tls_with_a_login(tmp_path: Path, certificate: Certificate, security: str) -> None:
    files = (certificate.path, certificate.key)
    with listening_mail(files, starttls=security == "starttls", password="right") as box:
        options = {"security": security, "user": "edgelift", "ca_file": "tls/cert.pem"}
        assert mail(tmp_path, box.port, "right", **options).send(MESSAGE).taken
        wrong = mail(tmp_path, box.port, "guessed", **options).send(MESSAGE)
        assert not wrong.taken and "535" in wrong.said and "guessed" not in wrong.said
        unknown = mail(tmp_path, box.port, "right", **{**options, "ca_file": ""}).send(MESSAGE)
        assert not unknown.taken and "certificate" in unknown.said.lower()
    assert len(box.mails) == 1


def test_a_mail_server_that_refuses_says_what(tmp_path: Path) -> None:
    with listening_mail() as box:
        both = mail(tmp_path, box.port, to=["maria@farm.example", "jo@farm.example"])
        box.refuses = {"jo@farm.example"}
        assert both.send(MESSAGE) == Receipt(True, "taken; refused: jo@farm.example (SMTP 550: no such mailbox)")
        box.refuses = {"maria@farm.example", "jo@farm.example"}
        assert not both.send(MESSAGE).taken
        box.refuses, box.answer = set(), "451 try later"
        assert both.send(MESSAGE) == Receipt(False, "SMTP 451: try later")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never says a word
        assert not mail(tmp_path, silent.getsockname()[1], timeout_s=0.05).send(MESSAGE).taken


def test_a_secret_is_read_anew_and_others_must_not_read_it(tmp_path: Path, http: Http) -> None:
    receiver = webhook(tmp_path, http.url)
    (tmp_path / "secret").write_text("another key of 24 bytes and more")
    assert receiver.send(MESSAGE).taken
    assert verify(http.came[0][1], http.came[0][2], "another key of 24 bytes and more") == "alert-1"
    (tmp_path / "secret").chmod(0o640)
    got = receiver.send(MESSAGE)
    assert not got.taken and "others can read its secret" in got.said and "another key" not in got.said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "webhook", "url": "ftp://x/"}, "is no address that begins with"),
        ({"kind": "webhook", "url": "https://u:p@x/"}, "a secret goes into secret_file"),
        ({"kind": "webhook", "url": "https://x/\nHost: y"}, "is no address"),
        ({"kind": "webhook", "url": "https://x:99999/"}, "is no address"),
        ({"kind": "webhook", "url": "https://x/", "secret_file": ""}, "24 are the least"),
        ({"kind": "webhook", "url": "https://x/", "secret_file": "none"}, "cannot be read"),
        ({"kind": "webhook", "url": "https://x/", "secret_env": "X"}, "both a secret_file and a secret_env"),
        ({"kind": "webhook", "url": "https://x/", "secret_file": "", "secret_env": "EDGELIFT_NONE"}, "is empty"),
        ({"kind": "webhook", "url": "https://x/", "codes": ["offine"]}, "no alert has the code 'offine'"),
        ({"kind": "webhook", "url": "https://x/", "ca_file": "none"}, "there is no ca_file"),
        ({"kind": "ntfy", "url": "https://x/"}, "does not end with a topic"),
        ({"kind": "ntfy", "url": "http://x/topic"}, "sent in plain text"),
        ({"kind": "mail", "host": "x", "sender": "a@b", "to": ["c"], "user": "u"}, "'c' is no address"),
        ({"kind": "mail", "host": "x", "sender": "a@b\nBcc: c", "to": ["c@d"], "user": "u"}, "is no address"),
        ({"kind": "mail", "host": "x y", "sender": "a@b", "to": ["c@d"], "user": "u"}, "'x y' is no host"),
        ({"kind": "mail", "host": "x", "sender": "a@b", "to": ["c@d"]}, "a user has a password"),
        ({"kind": "mail", "host": "x", "sender": "a@b", "to": ["c@d"], "user": "u", "security": "none"}, "in plain text"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_receiver_is_refused_by_its_name(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        one(tmp_path, **settings)
    assert caught.value.code == "bad-config" and "'ops'" in caught.value.message and said in caught.value.message


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_text(KEY)
    row = {"kind": "webhook", "name": "ops", "url": "https://x/", "secret_file": "secret"}
    settings = msgspec.convert({"receivers": [row, row]}, AlertSettings)
    with pytest.raises(DeviceError, match="two of this name"):
        receivers_of(settings.receivers, tmp_path)


def test_waits_grow_with_jitter_for_about_a_day_and_heed_what_was_asked() -> None:
    waits = [delay_s(n, Receipt(False, ""), 0.5) for n in range(1, TRIES)]
    assert waits[0] == FIRST_S and waits[-1] == LONGEST_S and waits == sorted(waits)
    assert 23 * 3600 < sum(waits) < 26 * 3600
    assert delay_s(1, Receipt(False, ""), 0.0) < waits[0] < delay_s(1, Receipt(False, ""), 1.0)
    assert delay_s(1, Receipt(False, "", retry_after_s=3000.0), 0.5) == 3000.0
