"""A stick on which a name is a link, a pipe or a folder instead of a file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attacks.board import DEVICE, Board

from edgelift_agent.artifact.carried import CarriedFolder
from edgelift_contract.carried import signed_name
from edgelift_contract.errors import EdgeliftError


def link(file: Path, data: bytes) -> None:
    elsewhere = file.with_name("elsewhere")
    elsewhere.write_bytes(data)
    file.symlink_to("elsewhere")


def outward(file: Path, _: bytes) -> None:
    file.symlink_to("/etc/passwd")


def pipe(file: Path, _: bytes) -> None:
    os.mkfifo(file)


def folder_of_that_name(file: Path, _: bytes) -> None:
    file.mkdir()


def linked_folder(file: Path, data: bytes) -> None:
    shutil.rmtree(file.parent)
    other = file.parent.with_name("other")
    other.mkdir(exist_ok=True)
    (other / file.name).write_bytes(data)
    file.parent.symlink_to("other")


@pytest.mark.parametrize("make", [link, outward, pipe, folder_of_that_name, linked_folder])
@pytest.mark.parametrize("board", ["stick"], indirect=True)
def test_it_is_refused_and_blocks_nobody(board: Board, make: Callable[[Path, bytes], None]) -> None:
    data, file, before = board.honest(), board.stick / signed_name(DEVICE), board.trusted()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    make(file, data)
    with pytest.raises(EdgeliftError) as caught:
        CarriedFolder(board.stick).signed(DEVICE)
    assert caught.value.code == "bad-path" and board.trusted() == before
    if file.parent.is_symlink():
        file.parent.unlink()
    shutil.rmtree(board.stick)
    board.passes()
