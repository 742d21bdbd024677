"""All commands alike: what every one of them must have, and which control plane they speak to."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from edgelift.frame import LOCAL, app
from edgelift_fleet.testing import FleetSimulator
from tests.fleet.conftest import ROOT, Server, edgelift

pytestmark = pytest.mark.fleet

#: Commands that print no JSON, and why.
WITHOUT_JSON: dict[str, str] = {}


def walk(command: Any, name: str = "") -> dict[str, Any]:
    """Every command that does something, by its words."""
    inner = getattr(command, "commands", {})
    found = {name: command} if name and (not inner or command.invoke_without_command) else {}
    for word, one in inner.items():
        found |= walk(one, f"{name} {word}".strip())
    return found


COMMANDS = walk(get_command(app))
GROUPS = {name.partition(" ")[0] for name in COMMANDS if " " in name}


def options(command: Any) -> set[str]:
    return {option for param in command.params for option in (*param.opts, *param.secondary_opts)}


def test_the_walk_finds_them() -> None:
    assert {"build", "devices", "devices show", "device mend", "rollout start", "telemetry export"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in WITHOUT_JSON])
def test_every_command_prints_json_if_told_to(name: str) -> None:
    assert "--json" in options(COMMANDS[name]), "give it JsonOption, or a reason in WITHOUT_JSON"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_says_what_it_is(name: str) -> None:
    silent = [param.name for param in COMMANDS[name].params if not param.help]
    assert COMMANDS[name].help and not silent


@pytest.mark.parametrize("name", [name for name, one in COMMANDS.items() if "--site" in options(one)])
def test_a_command_reaches_a_control_plane_elsewhere_unless_it_is_about_the_folder(name: str) -> None:
    assert ({"--server", "--token-file"} <= options(COMMANDS[name])) == (name not in LOCAL)


def test_a_client_of_a_running_server_loads_no_database() -> None:
    """That is where most of a command's time went."""
    code = (
        "import sys, edgelift.frame, edgelift_fleet.client, edgelift_fleet.messages\n"
        "print({'sqlalchemy', 'fastapi', 'numpy', 'alembic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_server_elsewhere_with_its_token_in_a_file(
    server: Server, fleet: FleetSimulator, tmp_path: Path
) -> None:
    fleet.add("pi-1")
    token = tmp_path / "token"
    token.write_text(server.operator + "\n")
    for way, env in (
        (("--server", server.url, "--token-file", token), {}),
        ((), {"EDGELIFT_SERVER": server.url, "EDGELIFT_TOKEN_FILE": str(token)}),
        (("--server", server.url), {"EDGELIFT_TOKEN": server.operator}),
        (("--server", server.url, "--site", server.site), {}),
        (("--site", server.site), {"EDGELIFT_SERVER": "http://127.0.0.1:1"}),  # the command line wins
    ):
        done = edgelift("device", "pi-1", *way, "--json", env={"EDGELIFT_SITE": str(tmp_path / "none"), **env})
        assert done.returncode == 0 and "pi-1" in done.stdout, (way, done)
    before = edgelift("devices", "--server", server.url, "--token-file", token, "show", "pi-1", "--json")
    assert json.loads(before.stdout)["device"]["device"] == "pi-1"  # told to the group, meant for its command


@pytest.mark.parametrize(
    "way, code",
    [
        (("--server", "elsewhere:8470"), "malformed"),
        (("--server", "http://127.0.0.1:1"), "not-found"),  # no token, and no site to take one from
        (("--server", "http://127.0.0.1:1", "--token-file", "missing"), "bad-config"),
        (("--server", "http://127.0.0.1:1", "--token-file", "/dev/null"), "bad-config"),
    ],
)
def test_a_control_plane_that_cannot_be_spoken_to(way: tuple[str, ...], code: str, tmp_path: Path) -> None:
    done = edgelift("devices", *way, env={"EDGELIFT_SITE": str(tmp_path / "none")})
    assert done.returncode == 1 and f"({code})" in done.stderr and not done.stdout
    if code == "not-found":
        assert "--token-file" in done.stderr and "edgelift init" not in done.stderr, (
            "it is the token that is missing"
        )


@pytest.mark.parametrize("group, command", [("devices", "show"), ("releases", "show")])
def test_an_option_of_a_list_before_a_command_is_not_ignored(group: str, command: str, idle_site: Path) -> None:
    done = edgelift(group, "--json", "--site", idle_site, command, "digits@1")
    assert done.returncode == 1 and "(malformed)" in done.stderr and "Put it behind." in done.stderr


def test_a_new_site_and_a_server_tell_of_themselves_in_json(tmp_path: Path) -> None:
    site = tmp_path / "site"
    made = [json.loads(edgelift("init", site, "--json").stdout) for _ in range(2)]
    assert [one["new"] for one in made] == [True, False]
    assert made[0]["site"] == str(site) and Path(made[0]["authority"]).is_file()


def written(text: str) -> list[list[str]]:
    """The words of every `edgelift …` that a page shows, in a line of its own or within a sentence."""
    lines = [line.strip() for line in text.splitlines() if re.match(r"(    |\$ |> )+edgelift ", line)]
    inline = re.findall(r"`(edgelift [^`\n]+)`", text)
    parts = [part for line in [*lines, *inline] for part in re.split(r" && |; | &$|  #| \| ", line)]
    return [part.lstrip("$> ").split() for part in parts if part.lstrip("$> ").startswith("edgelift ")]


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"], ids=lambda path: path.name
)
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    for words in written(page.read_text()):
        said = [re.sub(r"[^\w-].*", "", word) for word in words[1:]]
        found = next((" ".join(said[:n]) for n in (3, 2, 1) if " ".join(said[:n]) in COMMANDS), None)
        if found is None:
            assert said[0] in GROUPS or words[1].startswith(("-", "…", "COMMAND", "init", "<")), (page.name, words)
            continue
        given = {re.sub(r"[^\w-].*", "", word) for word in words if word.startswith("--") and len(word) > 2}
        known = options(COMMANDS[found]) | {"--help", "--debug"}
        known |= options(COMMANDS.get(f"{said[0]} show", COMMANDS[found]))  # `device pi-1` is `device show pi-1`
        assert given <= known, (page.name, words, given - known)
