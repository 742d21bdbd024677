"""The `edgelift-agent` command: run, once, status, doctor, import, rollback, pin, unpin.

Standard library only, so that `--help` and `status` cost a Raspberry Pi next to nothing.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from edgelift_agent.config import DEFAULT_PATH, Config, load_config
from edgelift_agent.system.quiet_log import quieten
from edgelift_contract import EdgeliftError, __version__
from edgelift_contract.errors import DeviceError, disk_code

#: A large model on a slow stick takes its time, seconds.
IMPORT_WITHIN_S = 6 * 3600.0


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exit 0 when done, 1 on an error, 2 on wrong usage."""
    parsed = _parser().parse_args(arguments)
    if parsed.debug:
        os.environ["EDGELIFT_DEBUG"] = "1"
    try:
        parsed.command(parsed)
    except EdgeliftError as error:
        _print_error(str(error), error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last frame: a person must never meet a bare traceback
        _print_error(f"A fault in edgelift: {type(error).__name__}: {error} Run again with --debug.", "internal")


def _print_error(message: str, code: str) -> None:
    if os.environ.get("EDGELIFT_DEBUG"):
        traceback.print_exc()
    print(f"error: {message} ({code})", file=sys.stderr)  # noqa: T201 - this is what a command line prints
    sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgelift-agent", description="Serves models on this device and updates them."
    )
    parser.add_argument("--version", action="version", version=f"edgelift-agent {__version__}")
    _add_options(parser, Path(DEFAULT_PATH), debug=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("enroll", _enroll, "make this device's key and get its certificate, by a token"),
        ("run", _run, "serve until stopped (what the systemd unit does)"),
        ("once", _once, "bring the device up to its assignment, then stop"),
        ("status", _status, "what serves, what is under way, and how the last update ended"),
        ("doctor", _doctor, "look at everything the agent depends on, and say what to do"),
        ("import", _import, "take what `edgelift export` wrote for this device, as from a USB stick"),
        ("rollback", _order, "go back to the slot's previous version and pin it there"),
        ("pin", _order, "leave the slot alone, whatever is assigned"),
        ("unpin", _order, "take the slot's assignment up again"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        # Once more, without a default: what stands before the command is not undone by what is absent after it.
        _add_options(sub, argparse.SUPPRESS, debug=argparse.SUPPRESS)
        sub.set_defaults(command=command, name=name)
        if command is _import:
            sub.add_argument("folder", type=Path, help="the folder that was exported, as /mnt")
        if command in (_status, _doctor, _import):
            sub.add_argument("--json", action="store_true", help="print JSON")
        if command is _enroll:
            sub.add_argument(
                "--token-file", type=Path, help="holds the token; - for standard input (it is asked for)"
            )
            sub.add_argument(
                "--device", default="", help="its id, where there is no configuration (the machine's name)"
            )
            sub.add_argument(
                "--again", action="store_true", help="also when it is enrolled already, under a new key"
            )
        if command is _order:
            sub.add_argument("slot", type=_text, help="name of the slot")
    return parser


def _add_options(parser: argparse.ArgumentParser, config: Path | str, *, debug: bool | str) -> None:
    parser.add_argument("--debug", action="store_true", default=debug, help="show the traceback of an error")
    parser.add_argument("--config", type=Path, default=config, help=f"configuration file ({DEFAULT_PATH})")


def _text(argument: str) -> str:
    """An argument that is no path: bytes that are no text are wrong usage."""
    if any("\ud800" <= letter <= "\udfff" for letter in argument):
        raise argparse.ArgumentTypeError(f"{argument!a} is not text")
    return argument


def _enroll(parsed: argparse.Namespace) -> None:
    from edgelift_agent.enrolling import enroll, read_token  # late: brings requests and cryptography

    _print(enroll(parsed.config, read_token(parsed.token_file), parsed.device, again=parsed.again))


def _run(parsed: argparse.Namespace) -> None:
    _agent(load_config(parsed.config)).run()


def _once(parsed: argparse.Namespace) -> None:
    _agent(load_config(parsed.config)).run(once=True)


def _agent(config: Config) -> Any:
    # journald adds time and unit by itself; on a terminal the time helps.
    form = (
        "%(levelname)s %(message)s"
        if os.environ.get("JOURNAL_STREAM")
        else "%(asctime)s %(levelname)s %(message)s"
    )
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=form)
    from edgelift_agent.app import Agent  # late: brings numpy, requests, uvicorn
    from edgelift_agent.system.recent_log import RecentLog

    recent = RecentLog(Path(config.state_dir) / "log")
    logging.getLogger().addHandler(recent)
    quieten()
    return Agent(config, recent_log=recent)


def _ask(parsed: argparse.Namespace, method: str, route: str, arguments: dict[str, Any] | None = None) -> Any:
    from edgelift_agent.admin import ask  # late: `run` needs it elsewhere

    config = load_config(parsed.config)
    return ask(Path(config.state_dir) / "run" / "admin.sock", method, route, arguments)


def _order(parsed: argparse.Namespace) -> None:
    answer = _ask(parsed, "POST", f"/{parsed.name}", {"slot": parsed.slot})
    _print(answer["message"])


def _status(parsed: argparse.Namespace) -> None:
    status = _ask(parsed, "GET", "/status")
    if parsed.json:
        _print(json.dumps(status, indent=2))
        return
    report = status["report"]
    facts = report["facts"]
    runtimes = ", ".join(f"{name} {version}" for name, version in facts.get("runtimes", {}).items()) or "none"
    _print(f"{report['device']}  {facts['hardware_class']}  host by {status['transport']}  runtimes: {runtimes}")
    for fault in report.get("degraded", []):
        _print(f"degraded: {fault['message']} ({fault['part']}: {fault['code']})")
    _print(f"trust: {_trust(status.get('trust', {}))}")
    _print(f"certificate: {_certificate(status.get('identity', {}))}")
    rows = [("SLOT", "STATE", "SERVES", "GEN", "SINCE", "LAST UPDATE")]
    rows += [_row(name, slot) for name, slot in report.get("slots", {}).items()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _trust(trust: dict[str, Any]) -> str:
    if not trust:
        return "nobody; what is assigned is taken unsigned"
    roots = [
        f"{name} root {root['version']:.0f} (until {_day(root['expires'])})"
        for name, root in trust["roots"].items()
    ]
    heard = f"last fresh answer {_minute(trust['heard_at'])}" if trust["heard_at"] else "no fresh answer yet"
    floor = f", no earlier than {_minute(trust['floor'])}" if trust["floor"] else ""
    return f"{', '.join(roots)}; {heard}{floor}"


def _certificate(identity: dict[str, Any]) -> str:
    if not identity:
        return "none; this device shows the token that all share"
    ends = " and ".join(_day(end) for end in identity["authorities"])
    return f"until {_day(identity['until'])}, by {identity['url']}; the site's authority until {ends}"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds)) if seconds else "?"


def _minute(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _import(parsed: argparse.Namespace) -> None:
    from edgelift_agent.admin import ask  # late: `run` needs it elsewhere

    config, folder = load_config(parsed.config), parsed.folder.absolute()
    socket = Path(config.state_dir) / "run" / "admin.sock"
    try:
        taken = ask(socket, "POST", "/import", {"folder": str(folder)}, timeout_s=IMPORT_WITHIN_S)
    except DeviceError as error:
        if error.code != "not-serving":
            raise
        from edgelift_agent.parts.importing import import_offline  # late: brings requests

        taken = import_offline(config, folder)
        taken["message"] += " No agent runs: it is carried out when one is started."
    _print(json.dumps(taken) if parsed.json else taken["message"])


def _doctor(parsed: argparse.Namespace) -> None:
    from edgelift_agent.doctor import examine  # late: brings requests

    findings = examine(load_config(parsed.config))
    if parsed.json:
        _print(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            _print(f"{finding.state:5} {finding.check:12} {finding.message} {finding.advice}".rstrip())
    if any(finding.state == "fail" for finding in findings):
        sys.exit(1)


def _row(name: str, slot: dict[str, Any]) -> tuple[str, str, str, str, str, str]:
    update = slot.get("update") or {}
    last = (
        f"{update.get('model', '')}@{update.get('version', '')} {update.get('outcome', 'in-progress')}"
        if update
        else "-"
    )
    if update.get("code"):
        last += f" ({update['code']})"
    since = _minute(slot["since"]) if slot.get("since") else "-"
    serves = f"{slot.get('model')}@{slot.get('version')}" if slot.get("artifact") else "-"
    return name, slot.get("state", "empty"), serves, str(slot.get("generation", 0)), since, last


def _print(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201 - this is what a command line prints
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python's own end would fail at it once more
        if error.errno == errno.EPIPE:
            sys.exit(1)  # whoever read has read enough, as `head` does
        raise DeviceError(
            disk_code(error.errno), f"Standard output can't be written: {error.strerror}."
        ) from error


if __name__ == "__main__":
    main()
