"""The frame of the `edgelift` command: its options, and how errors reach a person.

An `EdgeliftError` ends the program with one sentence, its hint and its code; anything else is a fault of ours
and says so. A traceback is shown only with `--debug`.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgelift import authority_commands, broker_commands, build_commands, site_commands, target_commands
from edgelift.completion import answer
from edgelift.output import say, say_error
from edgelift.reach import reach_all
from edgelift_contract import EdgeliftError, __version__

#: Commands about the folder itself, on the machine where it is; all others speak to the control plane's API.
LOCAL = {
    "init", "serve", "simulate", "backup", "restore", "keys begin", "broker config", "authority show", "authority rotate",
    "authority finish", "authority make",
}  # fmt: skip
#: Commands that change nothing: they are not asked why.
READS = {
    "latency", "gauges", "releases show", "release show", "devices show", "device show", "rollout list", "rollout show",
    "rollout watch", "telemetry export", "token list", "keys list", "keys export", "user list", "access list",
    "audit verify", "alert list", "alert silences", "alert receivers",
}  # fmt: skip


class _Group(TyperGroup):
    """`--debug` also after the command, where whoever is told to run it again puts it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[:end]:
            args = ["--debug", *(word for word in args[:end] if word != "--debug"), *args[end:]]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="edgelift",
    cls=_Group,
    help="Lift models to the edge: build, publish, roll out, and measure them on the devices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # else `[default: …]` and `[x]` in a help text are read as markup and lost
)
build_commands.register(app)
target_commands.register(app)
site_commands.register(app)
broker_commands.register(app)
authority_commands.register(app)
reach_all(app, local=LOCAL, reads=READS)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"edgelift {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if debug:
        os.environ["EDGELIFT_DEBUG"] = "1"


def make_printable() -> None:
    """What the terminal's or a log's encoding lacks (arrows, the micro sign) is printed as `?`; it ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run() -> None:
    """Run the command; exit 0 when done, 1 on an error, 2 on wrong usage, 130 when interrupted."""
    make_printable()
    step, _, shell = os.environ.get("_EDGELIFT_COMPLETE", "").partition("_")
    if step == "complete":
        answer(shell, lambda: app(prog_name="edgelift"))
    try:
        app(prog_name="edgelift")  # ends the process itself, wrong usage and interrupts included
    except EdgeliftError as error:
        _print_error(error.message, error.hint, error.code)
    except UnicodeError as error:
        _print_undecodable(error)
    except ModuleNotFoundError:
        raise  # an extra is not installed: `cli` says which
    except Exception as error:  # noqa: BLE001 - the last frame: a person must never meet a bare traceback
        _print_fault(error)
    sys.exit(1)


def _print_undecodable(error: UnicodeError) -> None:
    """An argument's bytes that are no text are fine in a path, and nowhere else: only the one who used it can tell."""
    for word in sys.argv[1:]:
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            _print_error(f"The argument {word!a} is not text.", "Only a path may be any bytes.", "malformed")
            sys.exit(2)
    _print_fault(error)


def _print_fault(error: Exception) -> None:
    _print_error(f"A fault in edgelift: {type(error).__name__}: {error}", "Run again with --debug.", "internal")


def _print_error(message: str, hint: str, code: str) -> None:
    if os.environ.get("EDGELIFT_DEBUG"):
        traceback.print_exc()
    say_error(message, hint, code)
