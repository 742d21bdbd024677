"""Metrics keep every digit, say what they mean, and tell what is broken around the agent; elsewhere only with a token."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from tests.agent.test_bad_input import GOOD
from tests.promtool import TRITON, complaints, complaints_of_agent
from tests.simulators.device import Device
from tests.waiting import LONG_S, until

from edgelift_agent.config import load_config, read_admin_token
from edgelift_agent.doctor import check_metrics
from edgelift_agent.identity.metrics_tls import is_admin_tls
from edgelift_agent.parts.metrics import AgentMetrics, Sources
from edgelift_agent.serving.metrics import serving_families
from edgelift_agent.serving.slots import Slots, make_generation
from edgelift_agent.telemetry.latency import LatencyRecorder, Sample
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModel, ToyModelFile
from edgelift_contract.errors import DeviceError
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.report import Degradation

TOKEN = "a-scrapers-token"
GAUGES = {
    "memory_used_bytes": 25276510208.0, "soc_temp_c": 61.55, "cpu_pct": 25.0, "gpu_freq_mhz": 921.6, "power_w": 5.5,
    "vdd_in_power_w": 5.5, "throttled": 1.0,
}  # fmt: skip


def exposed(requests: int = 1, *, accept: str = "", faults: tuple[Degradation, ...] = ()) -> str:
    wanted, blobs = toy_artifact("1", ToyModelFile())
    slots, recorder = Slots(), LatencyRecorder(0.0)
    model = ToyModel(ToyModelFile(), ["x"], ["y"])
    generation = make_generation("toy", 1, wanted.artifact, parse_manifest(blobs[wanted.artifact]), model, 1.0)
    slots.make("toy").swap(generation)
    totals = recorder._closed.setdefault(generation.key, recorder.totals(generation.key))
    totals.ok = requests  # a year's worth; recording them one by one would take an hour
    recorder.record(generation.key, Sample(1.0, 2.0, 3.0, 4.0, 1234567.25))
    sources = Sources(
        serving=lambda: serving_families(slots, recorder, 3, {("not-found",): 2}), gauges=lambda: GAUGES,
        degraded=lambda: faults, outcomes=lambda: {("refused", "too-slow"): 1}, waiting=lambda: 7,
        certificate_ends=lambda: 1_900_000_000.0, now=lambda: 1_800_000_000.0,
    )  # fmt: skip
    return AgentMetrics(sources).expose(accept)[0].decode()


def values(text: str) -> dict[str, float]:
    return {sample.name: sample.value for family in plain(text) for sample in family.samples}


def test_numbers_keep_every_digit_and_are_in_base_units() -> None:
    found = values(exposed(1_234_567_890))
    assert found["nv_inference_request_success"] == 1234567891
    assert found["nv_inference_request_duration_us"] == 1234567.25
    assert found["edgelift_device_memory_used_bytes"] == 25276510208
    assert found["edgelift_device_temperature_celsius"] == 61.55
    assert found["edgelift_device_cpu_ratio"] == 0.25
    assert found["edgelift_device_gpu_frequency_hertz"] == 921_600_000
    assert found["edgelift_updates_total"] == 1
    assert found["edgelift_requests_refused_total"] == 2
    assert found["edgelift_certificate_end_timestamp_seconds"] == 1_900_000_000


def test_each_family_says_what_it_is_in_either_format() -> None:
    for families in (plain(exposed()), openmetrics(exposed(accept="application/openmetrics-text; version=1.0.0"))):
        found = list(families)
        assert all(family.documentation for family in found)
        histogram = next(family for family in found if family.name == "edgelift_request_seconds")
        counts = [sample.value for sample in histogram.samples if sample.name.endswith("_bucket")]
        assert counts == sorted(counts) and counts[-1] == 1
    assert exposed(accept="text/plain, application/openmetrics-text;version=\x7fabc").endswith("# EOF\n")


def test_what_is_broken_is_a_metric() -> None:
    text = exposed(faults=(Degradation("journal", "disk-full", 'a "quoted" sentence', 1.0),))
    assert 'edgelift_degraded{code="disk-full",part="journal"} 1' in text
    assert "edgelift_degraded{" not in exposed()


def test_promtool_has_nothing_to_say_but_of_tritons_names() -> None:
    faults = (Degradation("journal", "disk-full", "full", 1.0),)
    for text in (exposed(), exposed(0), exposed(faults=faults)):
        assert complaints_of_agent(text) == []
    assert {name for name in values(exposed()) if name.startswith("nv_")} == TRITON
    assert any(line.startswith("nv_inference_") for line in complaints(exposed()))  # else the rule is not needed


def test_nothing_of_it_is_imported_before_somebody_asks() -> None:
    program = "import sys, edgelift_agent.app; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def guarded(tmp_path: Path, host: ToyHost) -> Iterator[Device]:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    serve = f'admin_host = "0.0.0.0"\nadmin_tls = "off"\nadmin_token_file = "{tmp_path / "token"}"'
    with Device(tmp_path / "device", host.url, host.token, serve=serve) as device:
        yield device.start()


def test_from_another_machine_only_with_the_token(guarded: Device) -> None:
    address = f"http://127.0.0.1:{guarded.status()['admin_port']}"
    for path in ("/metrics", "/health"):
        for given in ({}, {"Authorization": "Bearer another"}, {"Authorization": f"Basic {TOKEN}"}):
            refused = requests.get(address + path, headers=given, timeout=LONG_S)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert refused.json()["code"] == "not-authorised"
        assert requests.get(address + path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=LONG_S).ok
    given = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text"}
    answer = requests.get(f"{address}/metrics", headers=given, timeout=LONG_S)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics(answer.text)}
    assert {"edgelift_build", "edgelift_outbox_items", "edgelift_clock_timestamp_seconds"} <= names


@pytest.mark.parametrize(
    ("serve", "said"),
    [("", (False, "ok")), ('admin_tls = "device"', (True, "warn")), ('admin_host = "0.0.0.0"', (True, "warn")),
     ('admin_host = "0.0.0.0"\nadmin_tls = "off"', (False, "warn")), ('admin_host = "::1"', (False, "ok"))],
)  # fmt: skip
def test_tls_is_spoken_beyond_loopback_unless_it_is_said(
    tmp_path: Path, serve: str, said: tuple[bool, str]
) -> None:
    config = tmp_path / "agent.toml"
    text = GOOD.replace("{state}", str(tmp_path / "state"))
    config.write_text(f'{text}{serve}\nadmin_token_file = "/etc/edgelift/token"\n')
    loaded = load_config(config)
    assert (is_admin_tls(loaded.serve), check_metrics(loaded).state) == said


def test_an_agent_without_a_certificate_says_that_it_can_t_be_scraped(tmp_path: Path, host: ToyHost) -> None:
    with Device(tmp_path / "device", host.url, host.token, serve='admin_tls = "device"') as device:
        device.start()
        until(lambda: [one["part"] for one in device.status()["report"].get("degraded", [])] == ["metrics"])


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "board.example"])
def test_elsewhere_without_a_token_is_refused_at_the_start(tmp_path: Path, host: str) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(GOOD.replace("{state}", str(tmp_path / "state")) + f'admin_host = "{host}"\n')
    with pytest.raises(DeviceError, match=r"serve\.admin_token_file") as caught:
        load_config(config)
    assert caught.value.code == "bad-config"


def test_a_token_that_others_may_read_is_none(tmp_path: Path) -> None:
    token, config = tmp_path / "token", tmp_path / "agent.toml"
    token.write_text(TOKEN)
    token.chmod(0o640)
    config.write_text(GOOD.replace("{state}", str(tmp_path / "state")) + f'admin_token_file = "{token}"\n')
    serve = load_config(config).serve
    with pytest.raises(DeviceError, match="chmod 600"):
        read_admin_token(serve.admin_token_file)
    token.chmod(0o600)
    assert read_admin_token(serve.admin_token_file) == TOKEN
