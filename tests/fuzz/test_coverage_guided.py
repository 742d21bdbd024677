"""The same parsers under atheris, where that is installed: another generator, led by coverage; so many runs of one seed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
RUNS = 10_000


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not on this machine: it has wheels for x86-64 alone",
)
def test_they_withstand_what_is_led_by_coverage(tmp_path: Path) -> None:
    # libFuzzer's own limit goes by ru_maxrss, which outlives an exec: it would be the peak of the process that runs tests.
    options = (f"-runs={RUNS}", "-seed=1", "-rss_limit_mb=0", "-max_len=20000")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.coverage_guided", *options], capture_output=True, text=True, cwd=tmp_path,
        env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert f"Done {RUNS} runs" in done.stderr
