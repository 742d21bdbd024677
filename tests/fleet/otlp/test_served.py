"""What a site's file and the environment ask for: by a real server and a real agent, and what is said where it can't be."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fleet.conftest import Server, environment
from tests.fleet.in_process import api_of
from tests.fleet.otlp.receiving import Receiver, check_nested, points, receiving
from tests.simulators.device import Device
from tests.simulators.releases import write_release
from tests.waiting import until

from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import DeviceError
from edgelift_fleet.client import Client
from edgelift_fleet.db import Database
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceSummary
from edgelift_fleet.otlp.configured import otlp_of
from edgelift_fleet.otlp_settings import OtlpSettings, what_is_sent
from edgelift_fleet.registry import publish
from edgelift_fleet.site import load_site

pytestmark = pytest.mark.fleet

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
AT_ONCE = Policy(probation_s=0.2, probation_min_requests=0)


def add_toys(site: Path, folder: Path) -> None:
    """`toy@1`, and `toy@2` whose goldens are wrong."""
    with closing(Database(load_site(site).database)) as db:
        for version, offset in (("1", 0.0), ("2", 1.0)):
            wanted, blobs = toy_artifact(version, ToyModelFile(), golden_offset=offset)
            write_release(folder / version, [blobs[wanted.artifact]], blobs)
            publish(load_site(site), db, folder / version)


def ask_for(site: Path, text: str) -> None:
    with (site / "site.toml").open("a") as file:
        file.write(f"\n[otlp]\n{text}\n")


def roots(receiver: Receiver) -> dict[str, str]:
    """Version → outcome of the updates that came."""
    return {
        one.said["edgelift.version"]: one.said["edgelift.outcome"] for one in receiver.spans() if not one.parent
    }


def test_a_real_agent_s_updates_come_from_a_real_server(site: Path, tmp_path: Path) -> None:
    add_toys(site, tmp_path / "toys")
    with receiving() as receiver:
        ask_for(site, f'endpoint = "{receiver.http.url}"\nevery_s = 1')
        with (
            Server(site, "--broker", "none") as server,
            Device(tmp_path / "one", server.url, server.token) as device,
        ):
            operator = Client(server.url, server.operator)
            device.start()
            for release in ("toy@1", "toy@2"):
                until(lambda: operator.get("/v1/devices", list[DeviceSummary]), "the board")
                operator.post("/v1/devices/pi-1/assign", AssignRequest(release, policy=AT_ONCE), AssignReply)
                until(lambda version=release[-1]: version in roots(receiver), f"the trace of {release}")
                device.stop()
                device.start("--clock-offset-s", str(-1.7e9))  # for the second it doesn't know what time it is
        assert roots(receiver) == {"1": "committed", "2": "refused"}
        good = traces(receiver)["1"]
        assert {
            "update",
            "assigned",
            "fetched",
            "verified",
            "preflight",
            "swapped",
            "observed",
            "committed",
        } <= set(good)
        assert {name for name, one in good.items() if one.service == "edgelift-fleet"} == {"update", "assigned"}
        # Its probation, from the swap on; phases are told in milliseconds.
        assert good["observed"].end - good["swapped"].start >= 0.19e9
        assert good["update"].said["edgelift.try"] == 1 and "edgelift.clock_moved_s" not in good["update"].said
        bad = traces(receiver)["2"]
        assert bad["preflight"].failed and bad["preflight"].said["error.type"] == "golden-mismatch"
        assert "swapped" not in bad
        assert bad["update"].said["edgelift.clock_moved_s"] == pytest.approx(1.7e9, abs=60)
        check_nested(list(bad.values()))
        assert points(receiver.metrics()["edgelift_fleet_leader"]) == {(): 1.0}
    assert "otlp" not in server.log.read_text()


def traces(receiver: Receiver) -> dict[str, dict]:
    """Version → its spans by name."""
    spans = receiver.spans()
    return {
        root.said["edgelift.version"]: {one.name: one for one in spans if one.trace == root.trace}
        for root in spans
        if not root.parent
    }


def without_extra(patch: pytest.MonkeyPatch) -> None:
    """As where nothing but opentelemetry's API is, which FastAPI brings."""
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        patch.delitem(sys.modules, name)
    patch.setitem(sys.modules, "opentelemetry.exporter", None)


def test_without_the_extra_a_site_that_asks_for_it_says_what_to_install(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for(site, 'endpoint = "http://127.0.0.1:9"')
    with api_of(site) as api:
        without_extra(monkeypatch)
        with pytest.raises(DeviceError) as caught:
            otlp_of(api.fleet)
    assert caught.value.code == "tool-missing" and "edgelift[otlp]" in caught.value.hint


def test_without_the_extra_a_variable_alone_stops_no_server(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    without_extra(monkeypatch)
    with api_of(site) as api:
        assert isinstance(otlp_of(api.fleet), nullcontext)
    assert "edgelift[otlp]" in caplog.text


def test_a_server_that_sends_nothing_imports_nothing_for_it() -> None:
    wanted = "['opentelemetry.sdk', 'google.protobuf', 'edgelift_fleet.fleet']"
    code = f"import sys, edgelift_fleet.otlp.configured; print([name for name in {wanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert (done.stdout.strip(), done.stderr) == ("['edgelift_fleet.fleet']", "")


@pytest.mark.parametrize(
    ("text", "headers", "what"),
    [
        ('endpoint = "collector:4318"', None, "endpoint"),
        ('endpoint = "https://me:Swordfish@c:4318"', None, "password"),
        ('headers_file = "secrets/otlp"', None, "cannot be read"),
        ('headers_file = "secrets/otlp"', "Authorization Swordfish", "line 1"),
        ('headers_file = "secrets/otlp"', "\nAuthorization: Sword\x07fish", "line 2"),
        ('headers_file = "secrets/otlp"', "open", "others can read"),
        ('ca_file = "secrets/none.pem"', None, "ca_file"),
    ],
)
def test_what_is_wrong_in_it_is_said_at_the_start_and_no_secret_with_it(
    site: Path, text: str, headers: str | None, what: str
) -> None:
    ask_for(site, text if "endpoint" in text else f'endpoint = "http://c:4318"\n{text}')
    if headers is not None:
        (site / "secrets" / "otlp").write_text(headers)
        (site / "secrets" / "otlp").chmod(0o644 if headers == "open" else 0o600)
    with api_of(site) as api, pytest.raises(DeviceError) as caught:
        otlp_of(api.fleet)
    assert caught.value.code == "bad-config" and what in caught.value.message
    assert "Swordfish" not in str(caught.value) and "fish" not in caught.value.hint


def test_a_variable_names_the_receiver_as_opentelemetry_has_it(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.http.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=barn")
        with api_of(site) as api, api.fleet.lead:
            made = otlp_of(api.fleet)
            assert made.send_metrics()
        assert receiver.http.came[0][0] == "/v1/metrics" and receiver.http.came[0][1]["x-team"] == "barn"


NAMES = ("ENDPOINT", "TRACES_ENDPOINT", "METRICS_ENDPOINT")
VARIABLES = st.dictionaries(
    st.sampled_from([
        *(f"OTEL_EXPORTER_OTLP_{name}" for name in NAMES), "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER",
        "OTEL_METRICS_EXPORTER",
    ]),
    st.sampled_from(["", "http://c:4318", "true", "TRUE", "none", "otlp"]),
)  # fmt: skip


@given(VARIABLES, st.booleans(), st.booleans(), st.sampled_from(["", "http://c:4318"]))
def test_what_is_sent_follows_the_file_then_the_variables(
    variables: dict[str, str], traces: bool, metrics: bool, endpoint: str
) -> None:
    sent = what_is_sent(OtlpSettings(endpoint=endpoint, traces=traces, metrics=metrics), variables)
    assert sent.traces <= traces and sent.metrics <= metrics
    if variables.get("OTEL_SDK_DISABLED", "").lower() == "true":
        assert not sent
    elif endpoint:
        assert (sent.traces, sent.metrics, sent.by_file) == (traces, metrics, True)
    elif not any(variables.get(f"OTEL_EXPORTER_OTLP_{name}") for name in NAMES):
        assert not sent
    elif variables.get(ENDPOINT):
        assert sent.traces == (traces and variables.get("OTEL_TRACES_EXPORTER") != "none")
