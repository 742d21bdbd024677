"""A board that boots: installed from a bundle, upgraded, given a broken agent, cut off, and left as it was found."""

import json
from pathlib import Path

import pytest

from tests.boards.conftest import Site, changed_agent
from tests.boards.container import Board
from tests.waiting import until

pytestmark = [pytest.mark.fleet, pytest.mark.onnx, pytest.mark.systemd, pytest.mark.slow]

AGENT = "/opt/edgelift/current/bin/edgelift-agent"
#: A working agent that never gets as far as serving.
BROKEN = "import sys; sys.exit('this agent is broken')"


def answers(board: Board) -> float:
    """What the board serves: (1 + 2) · the model's version."""
    asked = {"inputs": [
        {"name": "a", "datatype": "FP32", "shape": [1, 3], "data": [1, 1, 1]},
        {"name": "b", "datatype": "INT64", "shape": [1, 1], "data": [2]},
    ]}  # fmt: skip
    program = (
        "import json, sys, urllib.request as r; "
        "print(json.load(r.urlopen(r.Request('http://127.0.0.1:8600/v2/models/many/infer', sys.argv[1].encode())))"
        "['outputs'][0]['data'][0])"
    )
    done = board.run("/usr/bin/python3", "-c", program, json.dumps(asked))
    return float(done.stdout) if done.returncode == 0 else 0.0


def version(board: Board) -> str:
    return board.run(AGENT, "--version").stdout.split()[-1]


def test_a_board_is_set_up_upgraded_and_cleared_and_serves_whatever_an_upgrade_does(
    board: Board, site: Site, wheels: Path, tmp_path: Path
) -> None:
    site.publish(tmp_path / "many@2", "2")
    board.boot()
    first = site.bundle(tmp_path / "first", wheels, "--device", "pi-1", "--tags", "site=barn")
    done = board.run(f"{first}/install.sh", check=True)
    assert "pi-1 is enrolled" in done.stderr and not (board.root / str(first)[1:] / "token").exists()
    site.edgelift("assign", "many@2", "--device", "pi-1")
    until(lambda: answers(board) == 6.0, "the model being served")
    assert site.device("pi-1")["device"]["tags"] == {"site": "barn"}

    again = board.run(f"{first}/install.sh", check=True)
    assert "there already" in again.stderr and answers(board) == 6.0

    better = site.bundle(
        tmp_path / "better", wheels, "--device", "pi-1", "--agent", changed_agent(tmp_path / "w2", "0.1.1")
    )
    board.run(f"{better}/install.sh", check=True)
    assert version(board) == "0.1.1" and answers(board) == 6.0

    worse = site.bundle(
        tmp_path / "worse",
        wheels,
        "--device",
        "pi-1",
        "--agent",
        changed_agent(tmp_path / "w3", "0.1.2", broken=BROKEN),
    )
    refused = board.run(f"{worse}/install.sh", "--healthy-within", "20")
    assert refused.returncode == 1 and "this agent is broken" in refused.stderr
    assert version(board) == "0.1.1"
    until(lambda: answers(board) == 6.0, "the agent before serving again")

    # The power is cut while the broken one is on trial: the board comes back with it, and goes back by itself.
    trying = board.start(f"{worse}/install.sh", "--healthy-within", "3600")
    until(lambda: version(board) == "0.1.2", "the broken agent on trial")
    board.cut_power()
    trying.wait()
    trial = board.root / "opt/edgelift/trial.json"
    trial.write_text(json.dumps(json.loads(trial.read_text()) | {"within_s": 20}))
    board.boot()
    until(lambda: version(board) == "0.1.1", "the agent before, after the cut")
    until(lambda: answers(board) == 6.0, "the model being served after the cut")
    assert not trial.exists()

    board.run("/opt/edgelift/uninstall", "--purge", check=True)
    left = board.run(
        "sh",
        "-c",
        "ls -d /opt/edgelift /etc/edgelift /var/lib/edgelift /etc/systemd/system/edgelift* /run/edgelift; id edgelift",
    )
    assert left.stdout == ""
