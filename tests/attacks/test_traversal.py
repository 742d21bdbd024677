"""Names that lead out of where they belong."""

import zlib
from pathlib import Path

import msgspec
import pytest
from tests.attacks.board import SAID, Board, nothing
from tests.simulators.signer import Signer, target

from edgelift_agent.system.inside import open_inside
from edgelift_contract.carried import blob_name, signed_name
from edgelift_contract.errors import ContractError

NAMES = [
    "../x.json",
    "image/../../x.json",
    "/etc/x.json",
    "image/x/y.json",
    "image//x.json",
    "image/x\0.json",
    "image/.json",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_such_a_name_has_the_whole_refused(board: Board, name: str) -> None:
    data = zlib.compress(msgspec.json.encode({"schema": 1, "device": "pi-1", "files": {name: "{}"}}))
    assert board.refused(data) == "malformed"
    board.passes()


def test_a_role_of_such_a_name_has_the_whole_refused(board: Board) -> None:
    def delegates(signer: Signer) -> None:
        signer.image.signed("builder").targets.clear()
        signer.image.delegate("targets", "../../director/timestamp", ["a/*/*/*/*"])

    board.withstands("malformed", delegates)


def test_a_target_of_such_a_name_is_no_artifact(board: Board) -> None:
    def adds(signer: Signer) -> None:
        for path in ("../../etc/passwd", "/etc/passwd"):
            signer.director.targets.targets[path] = target(path, b"x", msgspec.to_builtins(SAID))

    before = board.revision
    board.says()
    adds(board.signer)
    board.given(board.sealed())
    assert board.revision == before + 1
    nothing(board.signer)


@pytest.mark.parametrize("name", ["../pi-2", "pi-1/..", "", ".", "pi-1\0"])
def test_no_devices_name_leads_out_of_a_stick(name: str, tmp_path: Path) -> None:
    for make in (signed_name, blob_name):
        with pytest.raises(ContractError):
            make(name)
    with pytest.raises(FileNotFoundError):
        open_inside(tmp_path, f"edgelift/../../{name}")
