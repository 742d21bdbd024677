"""Completion in a shell: by the protocol that typer's scripts speak, as a process, and in bash itself."""

import contextlib
import os
import pty
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift.completion import _joined
from edgelift_fleet.testing import simulated_fleet
from tests.fleet.conftest import Server, environment, make_site
from tests.fleet.test_commands import COMMANDS

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Server]:
    site = make_site(tmp_path_factory.mktemp("completion") / "site", releases)
    made = Server(site, "--broker", "none").start()
    try:
        with simulated_fleet(site) as fleet:
            fleet.add("pi-1", tags={"barn": "", "row": "north"})
            fleet.add("pi-2", tags={"barn": "", "row": "south", "evil": '\\";touch x;#', "spaced": "a b"})
            fleet.add("cam-1")
            yield made
    finally:
        made.stop()


def completed(shell: str, site: Path, env: dict[str, str]) -> list[str]:
    """What a shell is given; checks that it is told nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", "from edgelift.cli import main; main()"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True,
        env={**environment(), "EDGELIFT_SITE": str(site), "_EDGELIFT_COMPLETE": f"complete_{shell}", **env},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split("\n") if shell == "zsh" else done.stdout.split()


def fish(line: str, site: Path, **env: str) -> list[str]:
    return completed(
        "fish", site, {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args", **env}
    )


def bash(*words: str, site: Path) -> list[str]:
    """The words as bash takes them apart, the last one to be completed."""
    return completed("bash", site, {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)})


@pytest.mark.parametrize(
    "line, offered",
    [
        ("edgelift device p", ["pi-1", "pi-2"]),
        ("edgelift device show ", ["cam-1", "pi-1", "pi-2"]),
        ("edgelift assign digits@2 --device c", ["cam-1"]),
        ("edgelift assign dig", ["digits@3", "digits@2", "digits@1"]),
        ("edgelift rollout start digits@1 --to tag:r", ["tag:row", "tag:row=north", "tag:row=south"]),
        ("edgelift rollout start digits@1 --to ta", ["tag:"]),
        ("edgelift latency --class x", ["x86-64-avx2"]),
        ("edgelift latency --tag ba", ["barn"]),
        ("edgelift latency --tag evil", ["evil"]),
        ("edgelift latency --tag spaced", ["spaced"]),
        ("edgelift latency --model ", ["digits"]),
        ("edgelift rollout show r", []),
    ],
)
def test_ids_and_names_are_offered(line: str, offered: list[str], peopled: Server) -> None:
    assert fish(line, peopled.site) == offered


def test_names_of_another_control_plane(peopled: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(peopled.operator)
    line = f"edgelift device show --server {peopled.url} --token-file {token} p"
    assert fish(line, tmp_path) == ["pi-1", "pi-2"]


def test_zsh_is_given_words_that_it_can_only_read_as_words(peopled: Server) -> None:
    env = {"_TYPER_COMPLETE_ARGS": "edgelift tag pi-1 ev"}
    assert completed("zsh", peopled.site, env) == ["""_arguments '*: :(("evil"))'""", ""]


@pytest.mark.parametrize(
    "words, offered",
    [
        (("edgelift", "device", "p"), ["pi-1", "pi-2"]),
        (("edgelift", "device", ""), ["show", "mend", "replace", "remove", "bundle", "cam-1", "pi-1", "pi-2"]),
        (("edgelift", "assign", "digits", "@"), ["3", "2", "1"]),
        (("edgelift", "assign", "digits", "@", "2"), ["2"]),
        (("edgelift", "assign", "digits", "@", "2", "--to", "tag", ":", "row", "=", "so"), ["south"]),
        (("edgelift", "latency", "--tag", "=", "row", "=", "n"), ["north"]),
        (("edgelift", "assign", "digits", "@", "2", "--device", ""), ["cam-1", "pi-1", "pi-2"]),
    ],
)
def test_bash_is_given_what_stands_behind_its_last_break(
    words: tuple[str, ...], offered: list[str], peopled: Server
) -> None:
    found = bash(*words, site=peopled.site)
    assert [one for one in found if one in offered] == offered and len(found) - len(offered) <= 1


def test_words_of_bash_are_put_together() -> None:
    assert _joined(["edgelift", "assign", "a", "@", "2", "--to", "=", "tag", ":", "b", ""], 10) == (
        ["edgelift", "assign", "a@2", "--to=tag:b", ""], 4
    )  # fmt: skip
    assert _joined(["edgelift", "device"], 2) == (["edgelift", "device"], 2)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_in_bash_itself(peopled: Server, tmp_path: Path) -> None:
    """Keys are typed at a terminal, and the shell puts the rest of the word there."""
    program = tmp_path / "edgelift"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from edgelift.cli import main; main()' \"$@\"\n")
    program.chmod(0o755)
    env = {
        **environment(),
        "EDGELIFT_SITE": str(peopled.site),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PS1": "> ",
    }
    child, terminal = pty.fork()
    if child == 0:
        os.execve(shutil.which("bash"), ["bash", "--norc", "--noprofile", "-i"], env)
    seen = b""
    try:
        os.write(terminal, b'eval "$(edgelift --show-completion bash)"; echo "re"ady\n')
        for typed, wanted in (
            (b"", b"ready"),
            (b"edgelift latency --tag row=so\t", b"row=south "),
            (b"--class x86\t", b"x86-64-avx2 "),
            (b"\x15edgelift rollout start digits@1 --to id:ca\t", b"id:cam-1 "),
        ):
            os.write(terminal, typed)
            while wanted not in seen:
                seen += os.read(terminal, 4096)
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def test_a_server_that_does_not_answer_costs_a_moment_and_no_word(peopled: Server, tmp_path: Path) -> None:
    """No site, nobody there, somebody who never answers, and a token that is none: nothing offered, nothing said."""
    token = tmp_path / "token"
    token.write_text("wrong")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        silent = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        for server in ("", "nonsense", "http://127.0.0.1:1", silent, peopled.url):
            env = {"EDGELIFT_SERVER": server, "EDGELIFT_TOKEN_FILE": str(token)}
            assert fish("edgelift device show p", tmp_path / "none", **env) == [], server


def test_an_answer_that_trickles_is_not_waited_for(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("some")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"H")
                    time.sleep(0.2)  # what is tested: each piece in time, and no end

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        env = {
            "EDGELIFT_SERVER": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "EDGELIFT_TOKEN_FILE": str(token),
        }
        assert fish("edgelift device show p", tmp_path, **env) == []
        thread.join()


@pytest.mark.parametrize("env", [{"COMP_WORDS": "edgelift device", "COMP_CWORD": "x"}, {"COMP_CWORD": "-9"}, {}])
def test_nonsense_of_a_shell_is_answered_with_nothing(idle_site: Path, env: dict[str, str]) -> None:
    completed("bash", idle_site, env)  # which checks that it is not told anything


def test_every_id_and_name_in_a_command_is_completed() -> None:
    wanted = {"device", "devices", "rollout", "hardware_class", "tag", "tags", "to", "release", "model"}
    not_ids = {("publish", "release"), ("build", "model"), ("simulate", "devices"), ("rollout show", "devices"),
               ("latency", "to"), ("gauges", "to"), ("telemetry export", "to")}  # fmt: skip
    for name, command in COMMANDS.items():
        for param in command.params:
            if param.name in wanted and (name, param.name) not in not_ids:
                assert param._custom_shell_complete is not None, (name, param.name)
