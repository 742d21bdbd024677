"""The last landed release beside today's code: its tree from git, its programs as processes.

`tests/vectors/released/commit` names it; `scripts/released` moves it on at each landing and records its messages.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors" / "released"


def released_commit() -> str:
    """Its commit's id."""
    return (VECTORS / "commit").read_text().strip()


def why_not_here() -> str:
    """Why the release's tree can't be had; empty where it can: a copy without git's history has none."""
    if not (ROOT / ".git").exists():
        return "this is a copy without git's history"
    asked = ["git", "-C", str(ROOT), "cat-file", "-e", f"{released_commit()}^{{commit}}"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"git can't be run: {error}"
    return "" if done.returncode == 0 else f"git's history has no {released_commit()[:12]} (a shallow clone?)"


def unpack_release(folder: Path) -> Path:
    """Its agent and builder below `folder`; `environment_of` has Python find them first."""
    parts = ["agent", "builder"]
    archive = ["git", "-C", str(ROOT), "archive", "--format=tar", released_commit(), *parts]
    data = subprocess.run(archive, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(folder)
    return folder


def environment_of(folder: Path) -> dict[str, str]:
    """Variables by which a process runs the code below `folder`."""
    return {"PYTHONPATH": os.pathsep.join(str(folder / part) for part in ("agent", "builder"))}
