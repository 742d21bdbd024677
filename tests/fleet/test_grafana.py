"""The dashboard and the alerts name only what the two real endpoints give, and docs/metrics.md tells of all of it."""

import contextlib
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families as plain
from scripts import grafana_dashboard

from edgelift_agent.parts.metrics import machine_families
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_fleet.metrics.exposition import FleetMetrics
from tests.agent.test_metrics import exposed
from tests.fleet.conftest import make_site
from tests.fleet.measured import measured
from tests.fleet.test_commands import COMMANDS
from tests.promtool import check_config, check_rules, complaints, complaints_of_agent
from tests.simulators.device import Device
from tests.waiting import LONG_S

pytestmark = pytest.mark.fleet

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "grafana" / "alerts.yaml"
#: Labels that Prometheus itself gives to every series.
OWN = {"job", "instance"}
#: Words of PromQL that look like a series.
_SERIES = re.compile(r"\b((?:edgelift|nv|process)_\w+)(\{[^}]*\})?")
_GROUPED = re.compile(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)")
#: What a board of each kind tells of itself, as `Board` names it.
BOARD = {
    "soc_temp_c": 50.0, "power_w": 5.0, "throttled": 0.0, "under_voltage": 0.0, "over_current": 0.0, "gpu_load_pct": 1.0,
    "throttled_since_boot": 0.0, "under_voltage_since_boot": 0.0, "gpu_freq_mhz": 900.0,
}  # fmt: skip


class Endpoints:
    """What both gave: series → its labels, and the families."""

    def __init__(self, fleet: str, agent: str) -> None:
        self.texts = {"fleet": fleet, "agent": agent}
        self.families: dict[str, Metric] = {}
        self.labels: dict[str, set[str]] = {}
        # What this machine can't show: a board's own sensors, a certificate.
        rest = (*plain(exposed()), *machine_families(BOARD))
        for family in (*plain(fleet), *plain(agent), *rest):
            self.families.setdefault(family.name, family)
            for sample in family.samples:
                self.labels.setdefault(sample.name, set()).update(sample.labels)


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Endpoints]:
    """A control plane and an agent in which everything happens that they tell of."""
    folder = tmp_path_factory.mktemp("endpoints")
    with measured(make_site(folder / "site", releases)) as whole:
        whole.api.refused("/v1/devices/nobody")
        fleet = FleetMetrics(whole.api.fleet).expose("")[0].decode()
    (folder / "file").write_text("no socket: the agent is degraded")
    with (
        contextlib.closing(ToyHost()) as host,
        Device(folder / "device", host.url, host.token, serve=f'unix_socket = "{folder / "file"}"') as device,
    ):
        device.start()
        host.assign(device.name, toy=host.publish("1", ToyModelFile()))
        host.wait_for(device.name, lambda report: bool(report.slots) and report.slots["toy"].state == "serving")
        device.infer([1, 1, 1, 1])
        device.infer([1, 1, 1, 1], slot="nothing")
        port = device.status()["admin_port"]
        agent = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=LONG_S).text
    yield Endpoints(fleet, agent)


def queries_of_dashboard() -> Iterator[tuple[str, str]]:
    """Each query and its legend."""
    found = json.loads(grafana_dashboard.FILE.read_text())
    for panel in found["panels"]:
        for one in (panel, *panel.get("panels", ())):
            for target in one.get("targets", ()):
                yield target["expr"], target["legendFormat"]


def rules() -> list[dict[str, Any]]:
    found = msgspec.yaml.decode(ALERTS.read_bytes())
    return [rule for group in found["groups"] for rule in group["rules"]]


def unknown(query: str, given: Endpoints) -> list[str]:
    """What of a query no endpoint gives."""
    wrong, labels = [], set(OWN)
    for name, matchers in _SERIES.findall(query):
        if name not in given.labels:
            wrong.append(name)
            continue
        labels |= given.labels[name]
        wrong += [
            f"{name}: {label}"
            for label in re.findall(r"(\w+)\s*[=!]~?", matchers)
            if label not in given.labels[name]
        ]
    grouped = {label.strip() for found in _GROUPED.findall(query) for label in found.split(",")}
    return wrong + sorted(grouped - labels)


def test_the_dashboard_is_what_its_script_makes() -> None:
    assert grafana_dashboard.made() == grafana_dashboard.FILE.read_text(), "run scripts/grafana"


def test_every_query_of_the_dashboard_names_what_there_is(endpoints: Endpoints) -> None:
    found = list(queries_of_dashboard())
    assert len(found) > 20
    for query, legend in found:
        assert _SERIES.search(query)
        assert unknown(query, endpoints) == [], query
        labels = set().union(OWN, *(endpoints.labels[name] for name, _ in _SERIES.findall(query)))
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels, (query, legend)


def test_every_alert_names_what_there_is_and_says_what_to_do(endpoints: Endpoints) -> None:
    for rule in rules():
        assert _SERIES.search(rule["expr"]) and unknown(rule["expr"], endpoints) == [], rule["alert"]
        said = rule["annotations"]
        assert set(said) == {"summary", "description"} and len(said["description"]) > 30, rule["alert"]
        labels = set().union(OWN, *(endpoints.labels[name] for name, _ in _SERIES.findall(rule["expr"])))
        assert set(re.findall(r"\$labels\.(\w+)", " ".join(said.values()))) <= labels, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_what_alerts_tell_to_type_can_be_typed() -> None:
    text = " ".join(" ".join(rule["annotations"].values()) for rule in rules())
    found = re.findall(r"\bedgelift ([a-z]+)(?: ([a-z]+))?", text)
    assert found
    for one, two in found:
        groups = {name.partition(" ")[0] for name in COMMANDS}
        assert f"{one} {two}".strip() in {*COMMANDS, *groups}, f"edgelift {one} {two}"


def test_a_query_that_names_nothing_is_found(endpoints: Endpoints) -> None:
    assert unknown("edgelift_fleet_nothing", endpoints) == ["edgelift_fleet_nothing"]
    assert unknown('edgelift_fleet_devices{colour="red"}', endpoints) == ["edgelift_fleet_devices: colour"]
    assert unknown("sum by (colour) (edgelift_fleet_devices)", endpoints) == ["colour"]


def test_promtool_takes_the_rules() -> None:
    done = check_rules(ALERTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_what_the_page_says_of_prometheus_side(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    found = re.findall(r"^    scrape_configs:\n(?:    .*\n)+", page, re.MULTILINE)
    assert len(found) == 2
    for number, text in enumerate(found):
        file = tmp_path / f"{number}.yml"
        file.write_text(textwrap.dedent(text))
        done = check_config(file)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_has_nothing_to_say_of_either_endpoint(endpoints: Endpoints) -> None:
    """But of Triton's names, which their clients read as they are."""
    assert complaints(endpoints.texts["fleet"]) == []
    assert complaints_of_agent(endpoints.texts["agent"]) == []


def documented() -> dict[str, tuple[str, str, set[str]]]:
    """Name → type, unit, labels, as docs/metrics.md says."""
    found = {}
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and re.fullmatch(r"`\w+`", cells[0]):
            found[cells[0].strip("`")] = (cells[1], cells[2], set(re.findall(r"`(\w+)`", cells[3])))
    return found


def test_the_page_tells_of_every_metric_and_of_no_other(endpoints: Endpoints) -> None:
    page = documented()
    given = {}
    for name, family in endpoints.families.items():
        shown = f"{name}_total" if family.type == "counter" else name
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        given[shown] = (family.type.replace("unknown", "untyped"), labels)
    assert set(page) == set(given)
    for name, (kind, labels) in given.items():
        assert page[name][0] == kind, name
        assert page[name][2] == labels, name
