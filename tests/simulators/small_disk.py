"""A real file system of a few megabytes that fills up, runs out of inodes or turns read-only, in a mount namespace.

Nothing is injected: the kernel itself refuses. Needs root; the mount goes with the process that holds the namespace.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs on `folder`, seen only by processes started `within` it.

    Attributes:
        within: put before a command's words, it runs the command where the disk is mounted.
        inside: the same folder as other processes can reach it.
    """

    def __init__(self, folder: Path, options: str) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        script = 'mount -t tmpfs -o "$1" tmpfs "$2" && echo mounted && exec sleep infinity'
        self._holder = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", options, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "mounted\n":
            message = f"no file system can be mounted here: {self._holder.communicate()[1].strip()}"
            if os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
                pytest.fail(message)
            pytest.skip(message)
        self.within = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--wd={Path.cwd()}"]
        self.inside = Path(f"/proc/{self._holder.pid}/root") / folder.relative_to("/")

    def fill(self) -> None:
        """Use every byte up."""
        with (self.inside / "filling").open("ab", buffering=0) as handle:
            for size in (65536, 1024, 1):
                try:
                    while True:
                        handle.write(b"\1" * size)
                except OSError:
                    continue

    def use_up_names(self) -> None:
        """Use every inode up."""
        folder = self.inside / "names"
        folder.mkdir()
        try:
            for number in range(1_000_000):
                (folder / str(number)).touch()
        except OSError:
            return

    def clear(self) -> None:
        """Take back what `fill` and `use_up_names` did."""
        subprocess.run(
            [*self.within, "sh", "-c", 'rm -rf "$1/filling" "$1/names"', "sh", str(self._folder)], check=True
        )

    def read_only(self) -> None:
        """Every open from here on meets a read-only file system; what is open already stays writable."""
        script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
        subprocess.run([*self.within, "sh", "-c", script, "sh", str(self._folder)], check=True)

    def writable(self) -> None:
        """Take back what `read_only` did."""
        subprocess.run([*self.within, "umount", "--lazy", str(self._folder)], check=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@contextmanager
def small_disk(folder: Path, options: str = "size=6m") -> Iterator[SmallDisk]:
    disk = SmallDisk(folder, options)
    try:
        yield disk
    finally:
        disk.close()
