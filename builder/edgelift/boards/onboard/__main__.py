"""The commands: install or upgrade (again is quick), `--judge` after a restart, `--uninstall`."""

from __future__ import annotations

import argparse
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from . import trial, unpacked, versions
from .said import Place, Stopped, say
from .service import HEALTHY_WITHIN_S, Service
from .trial import AgentTrial
from .unpacked import Unpacked

USER = "edgelift"
_NAMELESS = '"@DEVICE@"'


def main(words: list[str] | None = None, place: Place | None = None) -> int:
    """Do what is asked; 0 when done, 1 when something stopped it."""
    parser = argparse.ArgumentParser(
        prog="install.sh", description="Installs or upgrades the edgelift agent on this board."
    )
    parser.add_argument("--device", default="", help="the board's id, where the bundle names none (its host name)")
    parser.add_argument(
        "--uninstall", action="store_true", help="take the agent away; configuration, records and models stay"
    )
    parser.add_argument("--purge", action="store_true", help="with --uninstall: these too, and the agent's user")
    parser.add_argument(
        "--healthy-within", type=float, default=HEALTHY_WITHIN_S, metavar="S",
        help="so long a new agent has to serve what was served before; else the one before is started again (%(default).0f)",
    )  # fmt: skip
    parser.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    asked, place = parser.parse_args(words), place or Place()
    try:
        if os.geteuid() != 0:
            raise Stopped("This must be run as root: sudo ./install.sh")
        with versions.alone(place):
            service = Service(place)
            if asked.judge:
                _judge(place, service)
            elif asked.uninstall:
                _uninstall(place, service, purge=asked.purge)
            else:
                _install(place, service, unpacked.look(Path(__file__).resolve().parent.parent), asked)
    except Stopped as stopped:
        say(f"error: {stopped}")
        return 1
    return 0


def _judge(place: Place, service: Service) -> None:
    if (found := trial.under_way(place)) is not None:
        trial.judge(place, service, found)


def _install(place: Place, service: Service, bundle: Unpacked, asked: argparse.Namespace) -> None:
    if (cut_short := trial.under_way(place)) is not None and service.runs:
        say("an upgrade was cut short: it is judged first")
        trial.judge(place, service, cut_short)
    before = versions.current(place)
    versions.put(place, bundle, _make_user(place, bundle.folder))
    _configure(place, bundle, asked.device)
    _keep_setup(place)
    slots = service.served() if before and service.runs else {}
    if before != bundle.name:
        trial.begin(place, AgentTrial(bundle.name, before, slots, asked.healthy_within))
    service.set_up(place.home / "setup/onboard/edgelift-agent.service", sys.executable)
    enrolled = _enrol(place, bundle)
    if not service.runs:
        trial.end(place, bundle.name, before)
        say("systemd does not run here: the agent starts with the board")
    elif (found := trial.under_way(place)) is not None:
        service.restart()
        trial.judge(place, service, found)
    elif not service.is_active():
        service.restart()
    if not enrolled:
        raise Stopped(
            "The agent is installed and not enrolled yet: run this again once the control plane can be reached."
        )
    say(f"edgelift-agent {bundle.version} is {'installed' if before != bundle.name else 'there already'}.")


def _make_user(place: Place, folder: Path) -> int:
    """The agent's user, and the groups that its unit names; returns its number."""
    place.sysusers.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "onboard/edgelift.sysusers", place.sysusers)
    if shutil.which("systemd-sysusers"):
        subprocess.run(["systemd-sysusers", str(place.sysusers)], check=False, capture_output=True)
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        for group in ("video", "render"):
            subprocess.run(["groupadd", "--force", "--system", group], check=False, capture_output=True)
        subprocess.run(
            ["useradd", "--system", "--home-dir", str(place.state), "--no-create-home", "--shell", "/usr/sbin/nologin",
             USER],
            check=False, capture_output=True,
        )  # fmt: skip
        try:
            user = pwd.getpwnam(USER)
        except KeyError as error:
            raise Stopped(f"The user {USER} can't be made: is systemd-sysusers or useradd there?") from error
    place.state.mkdir(parents=True, exist_ok=True, mode=0o750)
    os.chown(place.state, user.pw_uid, user.pw_gid)
    return user.pw_uid


def _configure(place: Place, bundle: Unpacked, device: str) -> None:
    """The configuration, where there is none: what somebody wrote is kept."""
    if place.config.exists():
        return
    text = (bundle.folder / "agent.toml").read_text(encoding="utf-8")
    if _NAMELESS in text:
        name = re.sub(r"[^a-z0-9-]+", "-", (device or socket.gethostname()).lower()).strip("-")[:64]
        if not name:
            raise Stopped("This board's host name makes no id. Give it one: sudo ./install.sh --device pi-1")
        text = text.replace(_NAMELESS, f'"{name}"')
    place.config.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    part = place.config.with_name(".agent.toml.part")
    part.write_text(text, encoding="utf-8")
    part.rename(place.config)


def _keep_setup(place: Place) -> None:
    """This program stays, for the judge after a restart and for `--uninstall`."""
    here, kept = Path(__file__).resolve().parent, place.home / "setup/onboard"
    if here == kept:
        return
    part = place.home / "setup.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(here, part / "onboard", ignore=shutil.ignore_patterns("__pycache__"))
    uninstall = place.home / "uninstall"
    uninstall.write_text(
        f'#!/bin/sh\nexec {place.home}/setup/onboard/run {sys.executable} --uninstall "$@"\n', encoding="utf-8"
    )
    uninstall.chmod(0o755)
    shutil.rmtree(place.home / "setup", ignore_errors=True)
    part.rename(place.home / "setup")


def _enrol(place: Place, bundle: Unpacked) -> bool:
    """By the bundle's token, once; what is enrolled stays so. False when the control plane was not reached."""
    if not bundle.token.exists():
        return True
    user = pwd.getpwnam(USER)
    surroundings = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(place.state)}
    with bundle.token.open("rb") as token:
        done = subprocess.run(
            [str(place.program), "--config", str(place.config), "enroll", "--token-file", "-"],
            stdin=token, capture_output=True, text=True, errors="replace", check=False,
            user=user.pw_uid, group=user.pw_gid, extra_groups=[], env=surroundings,
        )  # fmt: skip
    if done.returncode and "(conflict)" not in done.stderr:
        say(done.stderr.strip())
        return False
    say(done.stdout.strip() or "This board is enrolled already.")
    bundle.token.unlink()
    return True


def _uninstall(place: Place, service: Service, *, purge: bool) -> None:
    service.stop()
    service.forget()
    for path in (place.home / "versions", place.home / "setup"):
        shutil.rmtree(path, ignore_errors=True)
    for path in (place.current, place.trial, place.sysusers, place.home / "uninstall"):
        path.unlink(missing_ok=True)
    if not purge:
        say(f"The agent is gone; {place.config.parent} and {place.state} are kept (--purge removes them).")
        return
    for path in (place.config.parent, place.state, place.home):
        shutil.rmtree(path, ignore_errors=True)
    subprocess.run(["userdel", USER], check=False, capture_output=True)
    say("The agent, its configuration, records and models are gone.")


if __name__ == "__main__":
    sys.exit(main())
