"""What trust costs a device and the control plane: verifying an assignment of four artifacts, and what attacks come to.

Time is CPU, the median of many. Memory is what a process gains that was like an agent before its first signed
assignment. Attacks are the cases of `tests/attacks`, run here; `refused` are those that ended as they must (a few
show what a thief can do, and pass when he can do no more). `enrol_s` is the whole command, from its start; `requests_failed`
are those of a device that serves while it is enrolled, updated, robbed, put out and let in again (`while`).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, show, write

ROOT = Path(__file__).parents[1]
#: Goals of one verification: milliseconds of CPU, megabytes.
CPU_MS, RSS_MB = 50.0, 10.0
ARTIFACTS = 4


def signing(folder: Path, times: int) -> dict[str, Any]:
    """A site and a board in this process: what signing and verifying cost; and a bundle that is kept for another process."""
    from tests.simulators.trusting import FourArtifacts

    made = FourArtifacts(folder, ARTIFACTS)
    made.save(folder / "first")
    opened, signed = [], []
    for _ in range(times):
        spent = time.process_time()
        data = made.signed()
        signed.append(1000 * (time.process_time() - spent))
        spent = time.process_time()
        made.open(data)
        opened.append(1000 * (time.process_time() - spent))
    return {
        "verify_cpu_ms": round(statistics.median(opened), 2), "verify_cpu_goal_ms": CPU_MS,
        "sign_cpu_ms": round(statistics.median(signed), 2), "bundle_bytes": len(data), "artifacts": ARTIFACTS,
    }  # fmt: skip


#: securesystemslib loads what signs in clouds where that is installed: a device has none of it, a developer may.
_AGENT_LIKE = """
import sys
sys.modules.update(dict.fromkeys(["boto3", "botocore", "google", "azure", "PyKCS11", "sigstore"]))
import psutil, numpy, paho.mqtt.client, requests, ssl, uvicorn
import edgelift_agent.app, edgelift_agent.cli, edgelift_agent.link.mqtt, edgelift_agent.serving.http
from pathlib import Path
from edgelift_agent.parts.trust import Trust
from edgelift_agent.ports import Committed
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_contract.report import DeviceFacts
folder = Path(sys.argv[1])
clock, facts = SystemClock(), DeviceFacts(hardware_class="arm64-neon", accepts=["arm64-neon"])
trust = Trust(folder, Disk(), clock, Degraded(clock), "pi-1", lambda: facts, Committed)
process, data = psutil.Process(), (folder / "bundle").read_bytes()
before = process.memory_info().rss
assert len(trust.open(data).signed) == int(sys.argv[2])
print(process.memory_info().rss - before)
"""


def rss_mb(folder: Path) -> float:
    """What the first verification adds to a process that has what an agent has."""
    command = [sys.executable, "-c", _AGENT_LIKE, str(folder), str(ARTIFACTS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return int(done.stdout) / 1e6


def serving(enrolments: int) -> dict[str, Any]:
    """In a process of its own, whose commands and servers end with it."""
    command = [sys.executable, "-m", "benchmarks.trusting.serving", str(enrolments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"the serving device could not be measured: {done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def attacks(only: list[str]) -> dict[str, int]:
    """How many cases of attacks there are, and how many were refused as they must be."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.xml"
        where = [str(ROOT / "tests" / "attacks" / name) for name in only] or [str(ROOT / "tests" / "attacks")]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={found}", *where]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"tests/attacks can't be run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = list(ET.parse(found).getroot().iter("testcase"))
    refused = [one for one in cases if not {"failure", "error", "skipped"} & {child.tag for child in one}]
    files = {str(one.get("classname")) for one in cases}
    return {"attack_files": len(files), "attacks": len(cases), "refused": len(refused)}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--times", type=int, default=200, help="how often is signed and verified")
    parser.add_argument("--enrolments", type=int, default=5, help="how many are timed")
    parser.add_argument(
        "--attacks", nargs="*", default=[], metavar="FILE", help="of tests/attacks; all by default"
    )
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgelift-trust-") as folder:
        figures = signing(Path(folder), parsed.times)
        gained = [rss_mb(Path(folder) / "first") for _ in range(3)]
    figures |= {"verify_rss_mb": round(statistics.median(gained), 2), "verify_rss_goal_mb": RSS_MB}
    figures |= serving(parsed.enrolments) | attacks(parsed.attacks)
    show("trust", [[name, value] for name, value in figures.items()], ["figure", "value"])
    write(parsed.json, figures)
    bad = figures["attacks"] != figures["refused"] or figures["requests_failed"]
    if bad or figures["verify_cpu_ms"] >= CPU_MS or figures["verify_rss_mb"] >= RSS_MB:
        raise SystemExit(f"a bar does not hold: {json.dumps(figures)}")


if __name__ == "__main__":
    main()
