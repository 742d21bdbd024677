"""Runs one of the two demos and judges its figures; whatever ends it, nothing is left behind."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from scripts import demo_agents, demo_fleet
from scripts.demo_stage import Stage, console

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", action="store_true", help="keep the demo's folder, logs included")
    parser.add_argument("--fleet", action="store_true", help="a fleet instead: 300 boards, a bad release, kills")
    parser.add_argument(
        "--sqlite", action="store_true", help="with --fleet: not on PostgreSQL, even where that is installed"
    )
    parsed = parser.parse_args()
    for name in [n for n in os.environ if n.lower().endswith("_proxy") or n == "EDGELIFT_SITE"]:
        del os.environ[name]  # everything here is on loopback, and in a folder of its own
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, told_to_end)
    folder = Path(tempfile.mkdtemp(prefix="edgelift-demo-"))
    if parsed.fleet:
        fleet = demo_fleet.FleetDemo(folder, sqlite=parsed.sqlite)
        perform(fleet, lambda: demo_fleet.run(fleet), demo_fleet.show, demo_fleet.failures, parsed)
    else:
        agents = demo_agents.AgentsDemo(folder)
        perform(agents, lambda: demo_agents.run(agents), demo_agents.show, demo_agents.failures, parsed)


def perform(
    demo: Stage, run: Callable[[], dict], show: Callable[[dict], None], judge: Callable[[dict], dict[str, bool]],
    parsed: argparse.Namespace,
) -> None:  # fmt: skip
    """Run it, show and write its figures, and leave nothing behind; the exit status says whether all of it held."""
    folder = demo.folder
    figures: dict = {}
    try:
        figures = run()
        show(figures)
    finally:
        demo.close()
        if not figures:
            for log in sorted(folder.glob("*.log")):
                console.print(f"--- {log.name}\n{log.read_text()[-3000:]}", markup=False)
        if parsed.keep:
            console.print(f"Kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")
    wrong = [name for name, good in judge(figures).items() if not good]
    if wrong:
        console.print(f"[bold red]failed[/]: {', '.join(wrong)}")
        sys.exit(1)
    console.print("[bold green]All of it held.[/]")


def told_to_end(number: int, _frame: object) -> None:
    """Leave by the way out that stops every process; a second signal does not cut that short."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
