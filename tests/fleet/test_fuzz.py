"""A running server against its own document: whatever is asked, no fault, and every answer is one that it declares.

Derandomised, so that a run is as the one before; `EDGELIFT_FUZZ_EXAMPLES=200` makes a longer one of other draws.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from edgelift_fleet.client import Client
from edgelift_fleet.messages import RolloutSummary, ServerHealth
from tests.fleet.conftest import Server, both_engines
from tests.waiting import LONG_S

pytestmark = pytest.mark.fleet

#: Of one operation, and walks along the document's links. By a seed of this number when it was asked for.
EXAMPLES = int(os.environ.get("EDGELIFT_FUZZ_EXAMPLES", "4"))
DRAWN = (
    ["--seed", str(EXAMPLES), "--generation-database", "none"]
    if "EDGELIFT_FUZZ_EXAMPLES" in os.environ
    else ["--generation-deterministic"]
)
#: Not every rule is in the document (no schema says that a release must be there), and a concrete path has a template
#: beside it that takes GET.
NOT_CHECKED = "positive_data_acceptance,unsupported_method"

#: A long poll is asked without its wait; a bundle's body is any bytes.
HOOKS = """
import schemathesis

schemathesis.serializer.alias("application/gzip", "application/octet-stream")

@schemathesis.hook
def map_query(context, query):
    return {**query, "wait_s": 0} if query and "wait_s" in query else query
"""


#: What counts as refused where a request is not as the document says.
CHECKS = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 406, 409, 413, 415, 429, 431]
"""


@both_engines
def test_every_answer_is_declared(server: Server, tmp_path: Path) -> None:
    fuzzed(server, tmp_path, "examples,fuzzing,stateful")
    health = Client(server.url, server.operator).get("/v1/health", ServerHealth)
    assert health.devices > 0  # the walks along links came as far as to enrol some
    assert Client(server.url, server.operator).get("/v1/rollouts", list[RolloutSummary])  # … and to start rollouts


@pytest.mark.slow
def test_every_answer_at_the_edges_of_every_bound_is_declared(server: Server, tmp_path: Path) -> None:
    fuzzed(server, tmp_path, "coverage")


def fuzzed(server: Server, folder: Path, phases: str) -> None:
    """No answer was a fault or one that isn't declared, and the server is there as before."""
    told = schemathesis(server, folder, "--phases", phases)
    said = re.sub(r"(.)\1{99,}", r"\1…", told.stdout)
    assert told.returncode == 0, said[-40_000:] + told.stderr[-2000:]
    assert "test cases" in told.stdout.lower()
    assert requests.get(f"{server.url}/openapi.json", timeout=LONG_S).ok
    assert " fault in " not in server.log.read_text()


def schemathesis(server: Server, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Fuzz a server as its document says."""
    (folder / "hooks.py").write_text(HOOKS)
    tokens = {"enrolment-token": server.token, "operator-token": server.operator}
    auth = "".join(f'[auth.openapi.{name}]\nbearer = "{token}"\n' for name, token in tokens.items())
    (folder / "schemathesis.toml").write_text(f'hooks = "hooks.py"\n{auth}{CHECKS}')
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
        "--config-file", str(folder / "schemathesis.toml"), "run", f"{server.url}/openapi.json",
        "--max-examples", str(EXAMPLES), *DRAWN, "--no-shrink", "--no-color",
        "--continue-on-failure", "--request-timeout", str(LONG_S), "--exclude-checks", NOT_CHECKED, *options,
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, env=env, cwd=folder, check=False)
