"""The run as tables."""

from benchmarks.building.bars import Bar
from benchmarks.common import show

_CHOSEN = [
    "model", "family", "parameters", "chosen", "size ÷", "latency ÷", "÷ fastest", "loss", "interval", "budget", "metric",
]  # fmt: skip
_PEERS = [
    "model",
    "ours",
    "best plain recipe",
    "its time ÷ ours",
    "interval",
    "÷ default",
    "loss, ours − its",
    "may be",
    "rounds",
]
_EACH = [
    "model",
    "plain recipe",
    "its time ÷ ours",
    "interval",
    "its loss",
    "interval",
    "verdict",
    "its size ÷ ours",
]


def chosen(models: list[dict]) -> None:
    show("chosen, against float", [_row(m) for m in models], _CHOSEN)


def not_chosen(models: list[dict]) -> None:
    rows = [
        [m["name"], f"{c['recipe']} {c['format']}", figures(c), c["reason"]] for m in models for c in m["lost"]
    ]
    show("not chosen", rows, ["model", "variant", "figures", "why"])


def peers(models: list[dict]) -> None:
    """Ours beside the plain recipes: the best of them, then each."""
    with_peers = [m for m in models if "peer" in m]
    if not with_peers:
        return
    show("each plain recipe", [row for m in with_peers for row in _each(m)], _EACH)
    left = [[m["name"], name, why] for m in with_peers for name, why in m["peers_not_made"].items()]
    if left:
        show("plain recipes that came to nothing", left, ["model", "plain recipe", "why"])
    show("beside the best plain recipe that keeps the budget", [_peer_row(m) for m in with_peers], _PEERS)


def bars(found: list[Bar], host: str) -> None:
    rows = [[b.what, f"{b.sign} {b.bar:g}", float(b.value), "yes" if b.met else "NO"] for b in found]
    show(f"bars for {host}", rows, ["bar", "to reach", "reached", "met"])


def figures(c: dict) -> str:
    """A variant in one line."""
    unit = "%" if c["unit"] == "percent" else "pp"
    parts = [
        f"size ÷{c['size_ratio']:.2f}" if c["size_ratio"] else "",
        f"latency ÷{c['latency_ratio']:.2f}" if c["latency_ratio"] else "",
        f"{c['loss']:+.2f} {unit}" if c["loss"] is not None else "",
    ]
    return ", ".join(p for p in parts if p) or "not made"


def _row(m: dict) -> list[object]:
    low, high = m["loss_interval"]
    return [
        m["name"], m["family"], f"{m['parameters'] / 1e6:.2f} M", f"{m['recipe']} {m['format']}", f"{m['size_ratio']:.2f}",
        f"{m['latency_ratio']:.2f}", f"{m['fastest_float_ratio']:.2f}",
        f"{m['loss']:.2f} {_unit(m)}", f"{low:.2f} … {high:.2f}", m["budget"],
        f"{m['metric']}, n = {m['samples']}",
    ]  # fmt: skip


def _unit(m: dict) -> str:
    return "%" if m["unit"] == "percent" else "pp"


def _peer_row(m: dict) -> list[object]:
    value, low, high = m["peer_latency_ratio"]
    may = m["loss_interval"][1] - m["loss_interval"][0]
    return [
        m["name"], f"{m['recipe']} {m['format']}", m["peer"], f"{value:.3f}", f"{low:.3f} … {high:.3f}",
        "{:.3f}".format(m["default_latency_ratio"][0]), f"{m['peer_loss']:+.2f} {_unit(m)}", f"{may:.2f}", m["peer_rounds"],
    ]  # fmt: skip


def _each(m: dict) -> list[list[object]]:
    ours = next(p for p in m["peers"] if p["name"] == "ours")
    return [
        [
            m["name"], p["name"], "{:.2f}".format(p["latency_ratio"][0]),
            "{:.2f} … {:.2f}".format(*p["latency_ratio"][1:]), f"{p['loss']:+.2f}",
            "{:+.2f} … {:+.2f}".format(*p["interval"]), p["verdict"], f"{p['size_bytes'] / ours['size_bytes']:.2f}",
        ]
        for p in m["peers"]
        if p is not ours
    ]  # fmt: skip
