"""What the host's command prints: text from outside as it is, defaults in every help, no control characters."""

import ast
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

import edgelift
from edgelift.output import LiveTable, escaped, printable
from edgelift.rollout_progress import QUIET_S, RolloutProgress
from edgelift_contract.assignment import Policy
from edgelift_fleet.messages import RolloutEvent, RolloutView
from edgelift_fleet.testing import Behaviour, FleetSimulator
from edgelift_fleet.testing.device import FACTS
from tests.fleet.conftest import Server, environment
from tests.fleet.conftest import edgelift as run

ODD = "a[x] [/b] [bold]c"


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish", f"missing {ODD}", "--site", "{site}"),
        ("publish", "missing", "--site", f"no site {ODD}"),
        ("serve", "--site", f"no site {ODD}"),
        ("releases", "--site", f"no site {ODD}"),
        ("devices", "--site", f"no site {ODD}"),
        ("device", ODD, "--site", f"no site {ODD}"),
        ("assign", f"digits@{ODD}", "--device", ODD, "--site", f"no site {ODD}"),
        ("tag", ODD, "k", "--site", f"no site {ODD}"),
        ("rollout", "list", "--site", f"no site {ODD}"),
        ("rollout", "start", ODD, "--to", "all", "--soak", ODD),
        ("build", f"missing {ODD}.py:f", "--target", "x86-64"),
        ("targets", ODD),
    ],
    ids=lambda arguments: "-".join(a for a in arguments[:2] if a.isalpha()),
)
def test_a_bracket_in_a_path_or_name_is_shown_as_it_is(
    arguments: tuple[str, ...], idle_site: Path, tmp_path: Path
) -> None:
    if arguments[0] == "build":
        pytest.importorskip("edgelift_builder.request", reason="a fleet server has no builder")
    done = run(*(a.format(site=idle_site) for a in arguments))
    assert done.returncode in (1, 2), done
    assert ODD in done.stderr and "MarkupError" not in done.stderr and "Traceback" not in done.stderr


def test_json_is_the_same_and_safe_to_look_at() -> None:
    odd = {"a\u202e": "\x9b31m\x7f \U000e0041 – ü 猫\ufeff\n\x1b"}
    sent = escaped(msgspec.json.encode(odd))
    assert json.loads(sent) == odd
    assert printable(sent.decode()) == sent.decode() and "ü 猫" in sent.decode()


def test_a_hint_keeps_its_brackets(capfd: pytest.CaptureFixture[str]) -> None:
    from edgelift.output import say_error

    say_error("It needs torch.", "Install it: pip install 'edgelift[builder]'.", "runtime-missing")
    assert (
        "error It needs torch. Install it: pip install 'edgelift[builder]'. (runtime-missing)"
        in capfd.readouterr().err
    )


def test_a_new_site_with_brackets_in_its_name(tmp_path: Path) -> None:
    done = run("init", tmp_path / ODD.replace("/", ""))
    assert done.returncode == 0 and "a[x] [b] [bold]c" in done.stdout


@pytest.mark.parametrize(
    "command, defaults",
    [
        ("build", ["[default: releases/MODEL@VERSION]"]),
        ("init", ["[default: ./site]", "[default: $EDGELIFT_SITE or ./site]"]),
        ("serve", ["[default: $EDGELIFT_SITE or ./site]", "[default: 127.0.0.1]", "8470"]),
        ("assign", ["[default: the model's name]"]),
        ("rollout start", ["[default: the model's name]", "1,25%,100%", "[default: 1h]"]),
    ],
)
def test_every_help_shows_its_defaults(command: str, defaults: list[str]) -> None:
    shown = " ".join(run(*command.split(), "--help").stdout.split())
    for default in defaults:
        assert default in shown, shown


def test_what_a_device_says_never_steers_the_terminal(server: Server, fleet: FleetSimulator) -> None:
    """A board's name that clears the screen and sets the window's title."""
    facts = msgspec.structs.replace(FACTS, board="a\x1b[2Jb\x1b]0;c\x07[bold]d")
    fleet.add("pi-1", facts=facts)
    shown = run("device", "pi-1", "--site", server.site)
    assert "a�[2Jb�]0;c�[bold]d" in shown.stdout
    as_json = run("device", "pi-1", "--site", server.site, "--json")
    assert json.loads(as_json.stdout)["facts"]["board"] == "a�[2Jb�]0;c�[bold]d"  # stored clean
    assert printable("a\u202eb\x9bc\rd\te\nf") == "a�b�c�d\te\nf"


def test_a_live_table_never_steers_the_terminal_by_what_it_shows(capfd: pytest.CaptureFixture[str]) -> None:
    with LiveTable() as live:
        live.draw("3 de\x1b[2Jvices", ["device"], [["a\x1b]0;c\x07[bold]b"]], ["on\x9bward"])
    shown = capfd.readouterr().out
    assert "3 de�[2Jvices" in shown and "a�]0;c�[bold]b" in shown and "on�ward" in shown and "\x1b[2J" not in shown


def test_a_rollout_that_is_watched_through_a_pipe_says_what_it_waits_for(
    server: Server, fleet: FleetSimulator
) -> None:
    gate = threading.Event()
    fleet.add("pi-1", behaviour=Behaviour(gate=gate))
    lines = []
    with subprocess.Popen(
        [sys.executable, "-c", "from edgelift.cli import main; main()", "rollout", "start", "digits@2",
         "--to", "all", "--waves", "100%", "--probation", "7s", "--wait", "--site", server.site],
        stdout=subprocess.PIPE, text=True, env=environment(), stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if "waits" in line and "Waiting for pi-1 to serve through probation." in line:
                gate.set()  # without that line the device never ends its update
    assert process.returncode == 0 and gate.is_set(), lines
    assert any("7 s of probation on every device" in line for line in lines)
    assert lines[-1].startswith("r1: digits@2 to all is done")


def test_a_rollout_is_never_silent_for_long() -> None:
    found = RolloutView(
        id="r1", release="digits@2", slot="digits", selector="all", waves=["100%"], soak_s=0.0, max_failures=0,
        deadline_s=3600.0, policy=Policy(), state="running", wave=1, reason="Waiting for pi-1 to serve.",
        created_at=100.0, changed_at=101.0, cohort=1, reached=1, committed=0, failed=0, devices=[],
        events=[RolloutEvent(100.5, "wave", "Wave 1 of 1 begins with 1 device.")],
    )  # fmt: skip
    progress = RolloutProgress()
    first = progress.lines(found, 5.0)
    assert len(first) == 3 and "300 s of probation" in first[0] and "Waiting for pi-1" in first[2]
    assert progress.lines(found, 6.0) == [] and progress.lines(found, 5.0 + QUIET_S - 1) == []
    (line,) = progress.lines(found, 5.0 + QUIET_S)
    assert "still: 0/1 committed, 0 failed. Waiting for pi-1" in line
    assert f"+{1 + QUIET_S:6.1f} s" in line  # since the start, by now
    done = msgspec.structs.replace(found, state="done", reason="1 of 1 device committed.", committed=1)
    assert progress.lines(done, 100.0) == []


def test_nothing_else_prints() -> None:
    """`output` is the one module that knows how text reaches a terminal."""
    for path in Path(edgelift.__file__).parent.glob("*.py"):
        if path.name == "output.py":
            continue
        text = path.read_text()
        assert not re.search(r"typer\.s?echo|\bConsole\(|rich\.markup|rich_markup_mode=\"", text), path.name
        calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
        assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), path.name


NO_TEXT = os.fsdecode(b"a\xff")


@pytest.mark.parametrize(
    "arguments",
    [
        ("device", NO_TEXT),
        ("tag", NO_TEXT, "a=b"),
        ("tag", "pi-1", NO_TEXT),
        ("assign", "digits@1", "--device", NO_TEXT),
        ("rollout", "show", NO_TEXT),
        ("rollout", "start", "digits@1", "--to", f"tag:{NO_TEXT}"),
        ("serve", "--host", NO_TEXT),
    ],
    ids=lambda arguments: "-".join(a for a in arguments if a.isalpha() and a.isascii()),
)
def test_an_argument_that_is_no_text_is_wrong_usage(
    arguments: tuple[str, ...], server: Server, idle_site: Path
) -> None:
    done = run(*arguments, "--site", str(idle_site if arguments[0] == "serve" else server.site))
    assert done.returncode == 2, done
    assert "udcff' is not text. Only a path may be any bytes. (malformed)" in " ".join(done.stderr.split())
