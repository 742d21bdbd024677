"""What runs on the board before it installs anything: a bundle that is not whole, or not for this board, changes nothing."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from edgelift.boards.onboard import trial, unpacked, versions
from edgelift.boards.onboard.__main__ import main
from edgelift.boards.onboard.said import Place, Stopped
from edgelift.boards.onboard.trial import AgentTrial

pytestmark = pytest.mark.fleet
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
ONBOARD = Path(unpacked.__file__).parent


def write(folder: Path, **about: object) -> Path:
    """A bundle's folder of one wheel that is none."""
    files = {
        "wheels/a-1-py3-none-any.whl": b"a wheel", "token": b"t", "agent.toml": b'device = "@DEVICE@"\n',
        "install.sh": b"#!/bin/sh\n",
        "bundle.json": json.dumps(
            {"version": "1", "target": "x86-64", "machine": platform.machine(), "python": HERE, **about}
        ).encode(),
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    (folder / "SHA256SUMS").write_text(sums)
    return folder


def test_a_whole_bundle_is_known_by_its_wheels_alone(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    (two / "token").unlink()  # it was used
    assert unpacked.look(one).name == unpacked.look(two).name
    assert unpacked.look(one).name.startswith("1-")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "agent.toml").write_text("other"), "agent.toml is not what the host put there"),
        (lambda folder: (folder / "agent.toml").unlink(), "agent.toml is missing"),
        (lambda folder: (folder / "wheels/b.whl").write_text("more"), "wheels/b.whl is not of it"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS can't be read"),
        (lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff\xfe"), "SHA256SUMS can't be read"),
        (lambda folder: (folder / "SHA256SUMS").write_text(f"{'a' * 64}  ../../etc/passwd\n"), "none of a bundle's"),
        (lambda folder: (folder / "SHA256SUMS").write_text(f"{'a' * 64}  /etc/passwd\n"), "none of a bundle's"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused(tmp_path: Path, change: object, why: str) -> None:
    folder = write(tmp_path)
    change(folder)  # type: ignore[operator]  # a lambda of the table
    with pytest.raises(Stopped, match=why.replace(".", r"\.")):
        unpacked.look(folder)


def test_a_link_in_a_files_place_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")
    (folder / "agent.toml").rename(tmp_path / "elsewhere")
    (folder / "agent.toml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Stopped, match=r"agent\.toml is not what"):
        unpacked.look(folder)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"python": "3.9"}, f"for Python 3.9, this is {HERE}"),
        ({"machine": "riscv64"}, f"riscv64.*this is a {platform.machine()}"),
    ],
)  # fmt: skip
def test_one_for_another_board_is_refused(tmp_path: Path, about: dict[str, object], why: str) -> None:
    with pytest.raises(Stopped, match=why):
        unpacked.look(write(tmp_path, **about))


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "{}", '{"python": "3.11"}', "[" * 100_000])
def test_one_that_does_not_say_what_it_is_is_refused(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path)
    (folder / "bundle.json").write_text(text)
    lines = [line for line in (folder / "SHA256SUMS").read_text().splitlines() if "bundle.json" not in line]
    lines.append(f"{hashlib.sha256(text.encode()).hexdigest()}  bundle.json")
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    with pytest.raises(Stopped, match=r"bundle\.json is not understood"):
        unpacked.look(folder)


def test_a_version_is_switched_to_by_one_rename_and_nothing_of_others_is_taken(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for name in ("1-a", "2-b", "3-c"):
        (place.home / "versions" / name).mkdir(parents=True)
    assert versions.current(place) == ""
    trial.begin(place, AgentTrial("1-a", "", {}, 5.0))
    trial.end(place, "1-a", "")
    assert versions.current(place) == "1-a" and trial.under_way(place) is None
    assert [path.name for path in (place.home / "versions").iterdir()] == ["1-a"]
    trial.begin(place, found := AgentTrial("2-b", "1-a", {"digits": "ab"}, 5.0))
    assert trial.under_way(place) == found and versions.current(place) == "2-b"
    place.current.unlink()
    place.current.mkdir()
    with pytest.raises(Stopped, match="no link of this installer"):
        versions.current(place)


def test_one_installation_at_a_time(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with versions.alone(place), pytest.raises(Stopped, match="Another installation"), versions.alone(place):
        pass


def test_a_trial_that_is_not_understood_is_said(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.home.mkdir(parents=True)
    for text in ("{", "[]", '{"new": 1}'):
        place.trial.write_text(text)
        with pytest.raises(Stopped, match="not understood"):
            trial.under_way(place)


def test_only_root_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main([], Place(tmp_path)) == 1
    assert "sudo ./install.sh" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_scripts_are_posix_shell() -> None:
    for name in ("install.sh", "run"):
        subprocess.run(["sh", "-n", ONBOARD / name], check=True)
        assert (ONBOARD / name).stat().st_mode & 0o111
