"""Names have one narrow form each, and topics and paths are made of nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_contract import ContractError, routes
from edgelift_contract.ids import check_device_id, check_name, check_sha256, parse_release

device_ids = st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)


@pytest.mark.parametrize("text", ["", "A", "a/b", "+", "#", "a b", "a\n", "ä", "x" * 65, "../x", "a.b", "a_b"])
def test_a_device_id_that_could_speak_for_others_is_refused(text: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_device_id(text)
    assert caught.value.code == "bad-id"
    for make in (routes.desired_topic, routes.report_path, routes.telemetry_topic, routes.state_topic):
        with pytest.raises(ContractError):
            make(text)


@given(st.text())
def test_a_device_id_is_checked_or_refused(text: str) -> None:
    try:
        assert check_device_id(text) == text
    except ContractError as error:
        assert error.code == "bad-id"
    else:
        assert not set(text) & set("/+#") and 1 <= len(text) <= 64


@given(device_ids)
def test_a_topic_names_its_device(device: str) -> None:
    for topic, rest in (
        (routes.desired_topic(device), "down/desired"),
        (routes.reported_topic(device), "up/reported"),
        (routes.state_topic(device), "up/state"),
        (routes.telemetry_topic(device), "up/telemetry"),
    ):
        assert routes.split_topic(topic) == (device, rest)
        assert topic.count("/") <= 7


def test_the_host_hears_every_uplink() -> None:
    up = {routes.split_topic(f.replace("+", "pi-1")) for f in routes.uplink_filters()}
    made = {routes.reported_topic("pi-1"), routes.state_topic("pi-1"), routes.telemetry_topic("pi-1")}
    assert up == {routes.split_topic(t) for t in made}


@pytest.mark.parametrize("topic", ["", "edgelift", "edgelift/v1/pi-1", "edgelift/v2/pi-1/up/state", "a/b/c/d/e"])
def test_a_foreign_topic_is_none_of_ours(topic: str) -> None:
    assert routes.split_topic(topic) is None


def test_paths() -> None:
    assert routes.desired_path("pi-1") == "/v1/devices/pi-1/desired"
    assert routes.report_path("pi-1") == "/v1/devices/pi-1/report"
    assert routes.telemetry_path("pi-1") == "/v1/devices/pi-1/telemetry"
    assert routes.blob_path("a" * 64) == "/v1/blobs/" + "a" * 64


@pytest.mark.parametrize("text", ["", "A" * 64, "a" * 63, "a" * 64 + "\n", "../" + "a" * 61])
def test_a_digest_is_64_hexadecimal_digits(text: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_sha256(text)
    assert caught.value.code == "bad-id"


@pytest.mark.parametrize("text", ["digits", "digits@", "@1", "Digits@1", "a@b@c", "digits@ 1", "digits@1\n"])
def test_a_release_is_model_at_version(text: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_release(text)
    assert caught.value.code == "bad-id"


def test_a_release_reads() -> None:
    assert parse_release("digits@2") == ("digits", "2")
    assert parse_release("a.b_c-1@v1.0+x") == ("a.b_c-1", "v1.0+x")
    assert check_name("model", "digits") == "digits"
