"""What a shell offers for a word that was begun: ids and names, asked of the control plane.

A shell that completes must never be disturbed: whoever can't be reached within a moment, refuses or answers nonsense
offers nothing, and nothing is printed. What is offered are words without any character that a shell would read as
more than a letter: a tag's value is a board's own text.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import threading
from collections.abc import Callable

import typer

from edgelift.reach import connect, whereabouts_of

#: Characters at which bash begins a new word, and which stand inside of ours.
_BREAKS = "@:="
#: A name that isn't found, or an answer that trickles, takes no longer, seconds.
_ENOUGH_S = 2.0
_SAFE = re.compile(r"[A-Za-z0-9._@:=+,/%-]+\Z")
#: Words of a selector, and what their values are; see the help of `--to`.
_TERMS = {"tag": "tags", "class": "classes", "id": "devices", "runs": "releases"}

Complete = Callable[[typer.Context, str], list[str]]


def names(noun: str) -> Complete:
    """A completion of `devices`, `releases`, `models`, `rollouts`, `tags` or `classes`."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return _ask(context, noun, incomplete)

    return complete


def selectors(context: typer.Context, incomplete: str) -> list[str]:
    """A completion of the last term of a selector that is one word, as `tag:barn`."""
    term, colon, value = incomplete.partition(":")
    if not colon:
        return [word for word in ("all", *(f"{one}:" for one in _TERMS)) if word.startswith(incomplete)]
    noun = _TERMS.get(term)
    return [f"{term}:{name}" for name in _ask(context, noun, value)] if noun else []


def _ask(context: typer.Context, noun: str, prefix: str) -> list[str]:
    from urllib.parse import urlencode

    enough = threading.Timer(_ENOUGH_S, os._exit, [0])
    enough.daemon = True
    enough.start()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            asked = urlencode({"of": noun, "prefix": prefix})
            found = connect(whereabouts_of(context), brief=True).get(f"/v1/names?{asked}", list[str])
    except Exception:  # noqa: BLE001 - whatever it is, the shell is not the place to tell
        return []
    finally:
        enough.cancel()
    return [name for name in found if name.startswith(prefix) and _SAFE.match(name)]


def answer(shell: str, run: Callable[[], None]) -> None:
    """Answer a shell that completes a word, and end the program.

    Args:
        shell: `bash`, `zsh`, `fish` …
        run: what reads the words from the environment and prints the offers, as typer does.
    """
    with contextlib.suppress(Exception):
        if shell == "bash":
            _answer_bash(run)
        else:
            run()
    sys.exit(0)


def _answer_bash(run: Callable[[], None]) -> None:
    """Bash takes `digits@2`, `tag:barn` and `--to=all` for several words, and replaces the last alone."""
    given = os.environ.get("COMP_WORDS", "")
    words = given.split("\n") if "\n" in given else given.split(" ")
    words, at = _joined(words, int(os.environ.get("COMP_CWORD", "0")))
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = " ".join(words), str(at)
    word = words[at] if at < len(words) else ""
    if word.startswith("--"):
        word = word.partition("=")[2]  # its option is not part of what is offered
    kept = max(word.rfind(one) for one in _BREAKS) + 1
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            run()
    finally:
        for line in printed.getvalue().splitlines():
            sys.stdout.write(f"{line[kept:]}\n")
        sys.stdout.flush()


def _joined(words: list[str], at: int) -> tuple[list[str], int]:
    """The words as a person wrote them, of bash's; and which of them is `at`."""
    found: list[str] = []
    place, open_ = 0, False
    for number, word in enumerate(words):
        breaks = bool(word) and not word.strip(_BREAKS)
        if found and word and (breaks or open_):
            found[-1] += word
        else:
            found.append(word)
        open_ = breaks
        if number == at:
            place = len(found) - 1
    return found, place if at < len(words) else len(found)
