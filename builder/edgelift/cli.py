"""The program `edgelift`: what has to stand before the first slow import; the rest is `frame`'s. Standard library only."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command; exit 0 when done, 1 on an error, 2 on wrong usage, 128 + the signal when told to end."""
    _open_missing()
    try:
        if _command() == "build":
            _listen()
        from edgelift.frame import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        _tell_missing(error)
        sys.exit(1)


def _open_missing() -> None:
    """Standard input, output and error are open, as `2>&-` leaves them not: else the next file or pipe gets their number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdin", "stdout", "stderr"):  # None where they were closed
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115 - for good


def _tell_missing(error: ModuleNotFoundError) -> None:
    """Say what to install, in plain text: what prints in colour may be what is missing, as on a device."""
    extras = "extras [builder] or [fleet]"
    if importlib.util.find_spec("typer"):  # one of them is there, and it's the other that this command needs
        extras = f"extra [{'builder' if _command() in ('build', 'targets') else 'fleet'}]"
    sys.stderr.write(
        f"error: This is the host's command and {(error.name or 'a package').partition('.')[0]} is not installed here:"
        f" install edgelift's wheel with the {extras}; on a device the command is edgelift-agent. (tool-missing)\n"
    )


def _command() -> str:
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _listen() -> None:
    """A build ends on a signal with its own exit code from here on: at first there is nothing to clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))
    from edgelift_builder import ending

    ending.listen()
