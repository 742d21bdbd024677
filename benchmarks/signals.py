"""How a build ends on SIGINT, SIGTERM and SIGHUP: how long it takes, and what it leaves, at moments all through it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from benchmarks.common import arguments, show, write

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SOURCE = f"{ROOT / 'tests' / 'builder' / 'tiny.py'}:tiny"
RECIPE = (
    'name = "two"\n'
    '[[variant]]\nname = "float32"\nformat = "onnx"\nrequired = true\nsteps = ["export-onnx"]\n'
    '[[variant]]\nname = "int8-static"\nformat = "onnx"\nsteps = ["export-onnx", "static-int8"]\n'
)
#: A build that has not ended so long after the signal, seconds, is taken for one that never will.
NEVER_S = 500.0


@dataclass(frozen=True)
class Moment:
    """So long after the build said that it began a stage: the `nth` whose line holds `stage`."""

    stage: str
    after_s: float = 0.0
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.stage}{f' ({self.nth})' if self.nth > 1 else ''} + {self.after_s:g} s"


#: What a build of `SOURCE` says, and how far into each stage the signal comes.
MOMENTS = (
    *(Moment("Running tiny in", s) for s in (0.0, 0.05, 0.2, 0.5, 0.9)),
    *(Moment("Making float32", s) for s in (0.0, 0.1, 0.5, 1.0, 2.0)),
    *(Moment("Making int8", s) for s in (0.0, 0.1, 0.4)),
    *(Moment("Running float32", s) for s in (0.0, 0.3)),
    *(Moment("Running int8", s) for s in (0.0, 0.1)),
    *(Moment("Measuring", s) for s in (0.0, 0.1, 0.3)),
    *(Moment("Packaging", s) for s in (0.0, 0.01, 0.03, 0.1)),
)


@dataclass
class Ended:
    """How it went: the exit code, seconds from the signal to the end, and what was found afterwards."""

    code: int
    seconds: float
    said: str
    release: bool
    processes: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    def wrong(self, number: int) -> str:
        """What is not as promised, in words; empty when all is. A signal may also have come too late."""
        finished = self.code == 0 and self.release
        if not finished and (self.code != 128 + number or self.release):
            return (
                f"exit code {self.code}, release {'there' if self.release else 'not there'}: {self.said[-2000:]}"
            )
        if self.processes or self.leftovers or "Traceback" in self.said:
            return f"left {self.processes} {self.leftovers}: {self.said[-2000:]}"
        return ""


class Build:
    """One build in `folder`, which must be empty: its cache, its temporary files and its release lie there."""

    def __init__(
        self, folder: Path, source: str = SOURCE, *options: str, boot: str = "", ignored: int = 0
    ) -> None:
        self.folder, self.said = folder, ""
        recipe = folder / "recipe.toml"
        recipe.write_text(RECIPE)
        (folder / "tmp").mkdir()
        code = f"{boot}\nfrom edgelift.cli import main; main()"
        paths = os.pathsep.join([str(ROOT / "agent"), str(ROOT / "builder")])
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "build", source, "--target", "x86-64", "--recipe", str(recipe),
             "--out", str(folder / "out" / "release"), *options],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=lambda: _as_at_a_terminal(ignored),
            env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder / "tmp"),
                 "EDGELIFT_CACHE": str(folder / "cache"), "BUILD_MARK": str(folder)},
        )  # fmt: skip

    def wait_until(self, moment: Moment) -> None:
        """Until the moment has come, or the build has ended."""
        seen = 0
        for line in self._lines():
            seen += moment.stage in line
            if seen == moment.nth:
                time.sleep(moment.after_s)
                return

    def send(self, number: int, *, group: bool = False) -> None:
        """To the process alone, as `kill` does, or to its whole group, as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def end(self) -> Ended:
        """Wait for it, and look at what is left."""
        began = time.monotonic()
        try:
            code = self.process.wait(NEVER_S)
        except subprocess.TimeoutExpired:
            code = -1
            self.process.kill()
            self.process.wait()
        seconds = time.monotonic() - began
        left = self._processes()
        list(self._lines())
        if self.process.stderr is not None:
            self.process.stderr.close()
        out = self.folder / "out"
        release = (out / "release" / "release.json").exists()
        leftovers = [*(self.folder / "tmp").iterdir(), *(p for p in _entries(out) if p.name != "release")]
        if out.exists() and not release:
            leftovers.append(out)
        leftovers += [p for p in _entries(self.folder / "cache" / "steps") if not (p / "piece.json").exists()]
        leftovers += [p for p in _entries(self.folder / "cache" / "steps") if p.name.startswith(".")]
        return Ended(code, seconds, self.said, release, left, [str(p) for p in leftovers])

    def _lines(self) -> Iterator[str]:
        """What it says on standard error, kept in `said` too."""
        stream: IO[bytes] | None = self.process.stderr
        assert stream is not None
        for raw in stream:
            line = raw.decode(errors="replace")
            self.said += line
            yield line

    def _processes(self) -> list[str]:
        """Every process that was started for this build, however far it went from its parents.

        They are killed, and gone on return: nothing of them writes any more.
        """
        left, killed = [], []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("BUILD_MARK") == str(self.folder):
                    left.append(" ".join(process.cmdline())[:200])
                    process.kill()
                    killed.append(process)
        while any(_runs(process) for process in killed):
            time.sleep(0.01)
        return left


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _as_at_a_terminal(ignored: int) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)


def end_at(folder: Path, moment: Moment, number: int, *, group: bool = False) -> Ended:
    """A build in the empty `folder` that gets the signal at the moment."""
    build = Build(folder)
    build.wait_until(moment)
    build.send(number, group=group)
    return build.end()


def main() -> None:
    parser = arguments(__doc__ or "")
    options = parser.parse_args()
    rows, worst, wrong = [], 0.0, 0
    for moment in MOMENTS:
        ends = []
        for number in SIGNALS:
            with tempfile.TemporaryDirectory(prefix="edgelift-signals-") as folder:
                ended = end_at(Path(folder), moment, number)
            if said := ended.wrong(number):
                wrong += 1
                print(f"{moment}, {number.name}: {said}", file=sys.stderr)
            ends.append(ended)
            worst = max(worst, ended.seconds)
        rows.append([str(moment), *(f"{e.seconds:.2f} s{'  done' if e.code == 0 else ''}" for e in ends)])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    show("from the signal to the end", rows, ["moment", *(number.name for number in SIGNALS)])
    print(f"{len(MOMENTS)} moments, {wrong} ends not as promised, {worst:.2f} s at most")
    write(
        options.json,
        {
            "moments": len(MOMENTS),
            "runs": len(MOMENTS) * len(SIGNALS),
            "bad_ends": wrong,
            "end_s_max": round(worst, 3),
        },
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
