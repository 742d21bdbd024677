"""Metrics keep every digit, say what they mean, and tell what is broken around the agent."""

import re

from edgelift_agent.serving.metrics import prometheus
from edgelift_agent.serving.slots import Slots, make_generation
from edgelift_agent.telemetry.latency import LatencyRecorder, Sample
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModel, ToyModelFile
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.report import Degradation


def exposed(requests: int, **options) -> str:
    wanted, blobs = toy_artifact("1", ToyModelFile())
    slots, recorder = Slots(), LatencyRecorder(0.0)
    model = ToyModel(ToyModelFile(), ["x"], ["y"])
    generation = make_generation("toy", 1, wanted.artifact, parse_manifest(blobs[wanted.artifact]), model, 1.0)
    slots.make("toy").swap(generation)
    totals = recorder._closed.setdefault(generation.key, recorder.totals(generation.key))
    totals.ok = requests  # a year's worth; recording them one by one would take an hour
    recorder.record(generation.key, Sample(1.0, 2.0, 3.0, 4.0, 1234567.25))
    return prometheus(slots, recorder, {"memory_used_bytes": 25276510208.0, "soc_temp_c": 61.55}, 3, **options)


def value(text: str, name: str) -> str:
    return re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)[1]


def test_counters_keep_every_digit() -> None:
    text = exposed(1_234_567_890)
    assert value(text, "nv_inference_request_success") == "1234567891"
    assert value(text, "nv_inference_request_duration_us") == "1234567.25"
    assert value(text, "edgelift_device_memory_used_bytes") == "25276510208"
    assert value(text, "edgelift_device_soc_temp_c") == "61.55"


def test_every_metric_has_its_help_and_type_before_its_values() -> None:
    text = exposed(1)
    known: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            known.add(line.split()[2])
            assert len(line.split()) > 3
        elif not line.startswith("#"):
            name = re.match(r"\w+", line)[0]
            assert name in known or re.sub("_(bucket|sum|count)$", "", name) in known, line


def test_what_is_broken_is_a_metric() -> None:
    text = exposed(1, degraded=[Degradation("journal", "disk-full", 'a "quoted" sentence', 1.0)])
    assert 'edgelift_degraded{part="journal",code="disk-full"} 1' in text
    assert "edgelift_degraded{" not in exposed(1)
