"""The Grafana dashboard of a site, made by Grafana's own SDK, so that it is valid by Grafana's own schema.

    scripts/grafana          writes grafana/edgelift.json
    scripts/grafana --check  says whether that file is what would be written

A person who has never seen it reads from the top: is anything wrong, what runs where, what changes now, how fast it is,
how the boards fare, how the server fares.
"""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    VariableHide,
)

FILE = Path(__file__).parents[1] / "grafana" / "edgelift.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
GREEN, AMBER, RED = "green", "orange", "red"

HOT = (
    "count(max by (device) ((edgelift_fleet_device_temperature_celsius >= 80) or (edgelift_fleet_device_throttled > 0)))"
    " or vector(0)"
)
FAILED = (
    "topk(10, max by (device, slot) (edgelift_fleet_device_recent_errors"
    " / (edgelift_fleet_device_recent_errors + edgelift_fleet_device_recent_requests)) > 0)"
)
LEFT = "bottomk(10, min by (device) (edgelift_fleet_device_certificate_end_timestamp_seconds) - time())"

#: Title, query, what it says, from how many on it is a warning and an alarm.
NOW = (
    ("There", 'max(edgelift_fleet_devices{state="online"})', "Devices that are there.", None),
    ("Not there", 'max(edgelift_fleet_devices{state="offline"})', "Devices that are not heard of.", 1),
    ("Failing", "max(edgelift_fleet_devices_failing)", "Devices that could not take what they should run.", 1),
    ("Waiting for a person", "count(max by (rollout) (edgelift_fleet_rollout_awaits_person) > 0) or vector(0)",
     "Rollouts that go nowhere before somebody decides: edgelift rollout list.", 1),
    ("Hot or throttled", HOT, "Of the devices with series of their own.", 1),
    ("Under-voltage", "count(max by (device) (edgelift_fleet_device_under_voltage) > 0) or vector(0)",
     "Of the devices with series of their own: look at supply and cable.", 1),
    ("Database", "min(edgelift_fleet_database_up)", "1 if it answers.", None),
    ("Broker", "min(edgelift_fleet_broker_up) or vector(1)", "1 if it is connected, or there is none.", None),
)  # fmt: skip

#: Row → panels: title, unit, description, queries with their legends.
ROWS = {
    "What runs where": (
        ("Slots by release", "none", "Slots that serve each release.",
         (("max by (model, version) (edgelift_fleet_slots_serving)", "{{model}}@{{version}}"),)),
        ("Devices by class", "none", "Devices of each hardware class.",
         (("max by (hardware_class) (edgelift_fleet_devices_by_class)", "{{hardware_class}}"),)),
    ),
    "What changes": (
        ("Open rollouts", "none", "Devices that each open rollout reached, by status.",
         (("max by (rollout, release, status) (edgelift_fleet_rollout_devices)", "{{rollout}} {{release}}: {{status}}"),)),
        ("Updates that ended", "none", "In each ten minutes, by outcome and code.",
         (("sum by (outcome, code) (increase(edgelift_fleet_updates_total[10m]))", "{{outcome}} {{code}}"),)),
        ("Gates", "none", "Looks of gates that are kept, by verdict.",
         (("max by (verdict) (edgelift_fleet_gate_looks)", "{{verdict}}"),)),
    ),
    "How fast": (
        ("p95, the slowest ten", "s", "Latency that 95 of 100 requests stayed below.",
         (("topk(10, max by (device, slot) (edgelift_fleet_device_latency_p95_seconds))", "{{device}} {{slot}}"),)),
        ("Median, over devices", "s", "Of the devices with series of their own.",
         (("quantile(0.5, edgelift_fleet_device_latency_p50_seconds)", "half of them"),
          ("quantile(0.95, edgelift_fleet_device_latency_p50_seconds)", "95 of 100"))),
        ("Failing requests, the worst ten", "percentunit", "Share of requests that failed in the last ten minutes.",
         ((FAILED, "{{device}} {{slot}}"),)),
    ),
    "How the boards fare": (
        ("Temperature, the hottest ten", "celsius", "A Raspberry Pi slows down at 80 °C.",
         (("topk(10, max by (device) (edgelift_fleet_device_temperature_celsius))", "{{device}}"),)),
        ("Disk free, the fullest ten", "bytes", "Where the state folder is.",
         (("bottomk(10, min by (device) (edgelift_fleet_device_disk_free_bytes))", "{{device}}"),)),
        ("Degraded", "none", "Boards that say something is broken around them, by code. Then: edgelift device show ID.",
         (("max by (code) (edgelift_fleet_devices_degraded)", "{{code}}"),)),
        ("Certificates that end next", "s", "How long they still hold: the ten that end first.",
         ((LEFT, "{{device}}"),)),
    ),
    "How the server fares": (
        ("Processor", "percentunit", "Share of one core.",
         (('rate(process_cpu_seconds_total[5m]) and on (job, instance) edgelift_fleet_leader', "{{instance}}"),)),
        ("What waits", "none", "Messages that came and aren't stored yet, and long polls.",
         (("edgelift_fleet_inbox_messages", "messages {{instance}}"),
          ("edgelift_fleet_parked_polls", "polls {{instance}}"))),
        ("Refused requests", "reqps", "By code.",
         (("sum by (side, code) (rate(edgelift_fleet_requests_refused_total[5m]))", "{{side}} {{code}}"),)),
    ),
    "Agents that are scraped themselves": (
        ("Requests", "reqps", "Answered, by model.",
         (("sum by (model, release) (rate(nv_inference_request_success[5m]))", "{{model}} {{release}}"),)),
        ("p95", "s", "From the histograms of all agents.",
         (("histogram_quantile(0.95, sum by (le, model, release) (rate(edgelift_request_seconds_bucket[5m])))",
           "{{model}} {{release}}"),)),
        ("Degraded", "none", "Parts of agents that live with a fault.",
         (("sum by (part, code) (edgelift_degraded)", "{{part}} {{code}}"),)),
    ),
}  # fmt: skip


def query(expression: str, legend: str = "", name: str = "A") -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(name)


def number(title: str, expression: str, text: str, alarm: float | None) -> stat.Panel:
    steps = [Threshold(value=None, color=GREEN)]
    if alarm is not None:
        steps.append(Threshold(value=alarm, color=AMBER))
    if alarm is None and title in ("Database", "Broker"):
        steps = [Threshold(value=None, color=RED), Threshold(value=1, color=GREEN)]
    thresholds = board.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    panel = stat.Panel().title(title).description(text).datasource(SOURCE).with_target(query(expression))
    panel = panel.thresholds(thresholds).reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.height(4).span(3)


def curves(title: str, unit: str, text: str, queries: tuple[tuple[str, str], ...], span: int) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(text).datasource(SOURCE).unit(unit)
    panel = panel.color_scheme(board.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    for name, (expression, legend) in zip("ABCD", queries, strict=False):
        panel = panel.with_target(query(expression, legend, name))
    return panel.height(8).span(span)


def attention() -> table.Panel:
    """Devices that need somebody, by name."""
    panel = table.Panel().title("Devices that need attention").datasource(SOURCE)
    panel = panel.description(
        "Failing, too hot, throttled, under-voltage or short of disk. Then: edgelift device ID."
    )
    parts = (
        "edgelift_fleet_device_failing > 0", "edgelift_fleet_device_temperature_celsius >= 80",
        "edgelift_fleet_device_throttled > 0", "edgelift_fleet_device_under_voltage > 0",
        "edgelift_fleet_device_disk_free_bytes < 200000000",
    )  # fmt: skip
    one = query(" or ".join(f"({part})" for part in parts)).instant()
    return panel.with_target(one).height(8).span(24)


def made() -> str:
    """The dashboard as JSON."""
    source = board.DatasourceVariable("source").type("prometheus").label("Prometheus").hide(VariableHide.DONT_HIDE)
    found = (
        board.Dashboard("edgelift").uid("edgelift").tags(["edgelift"]).refresh("30s").time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR).readonly().with_variable(source)
    )  # fmt: skip
    for one in NOW:
        found = found.with_panel(number(*one))
    found = found.with_panel(attention())
    for title, panels in ROWS.items():
        found = found.with_row(board.Row(title))
        for panel in panels:
            found = found.with_panel(curves(*panel, span=24 // len(panels)))
    return JSONEncoder(sort_keys=True, indent=2).encode(found.build()) + "\n"


def main(arguments: list[str]) -> int:
    text = made()
    if arguments == ["--check"]:
        if FILE.exists() and FILE.read_text() == text:
            return 0
        print(f"{FILE.name} is not what scripts/grafana makes: run it.", file=sys.stderr)
        return 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
