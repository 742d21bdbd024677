"""What the last landed release wrote is read today, and it reads what is written today; see docs/versions.md."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_contract.errors import ContractError
from edgelift_contract.versions import check_versions, minor_of
from tests.simulators import recording
from tests.simulators.released import VECTORS, environment_of, unpack_release, why_not_here

RECORDED: dict[str, dict[str, Any]] = json.loads((VECTORS / "messages.json").read_text())
#: Kinds that the released contract had and today's has not, each with what takes its place.
GONE: dict[str, str] = {}


def test_every_kind_that_was_released_is_still_there() -> None:
    assert set(RECORDED) - set(recording.kinds()) == set(GONE)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_what_the_last_release_wrote_is_read(name: str) -> None:
    assert recording.read({name: RECORDED[name]}) == {}


def test_what_is_written_today_is_read_by_the_last_release(tmp_path: Path) -> None:
    if why := why_not_here():
        pytest.skip(f"the last landed release is not at hand: {why}")
    unpack_release(tmp_path)
    today = {
        name: {"full": recording.make(kind, full=True), "least": recording.make(kind, full=False)}
        for name, kind in recording.kinds().items()
    }
    done = subprocess.run(
        [sys.executable, recording.__file__, "read"], input=json.dumps(today), capture_output=True, text=True,
        env={**os.environ, **environment_of(tmp_path)}, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {}


def test_a_field_that_is_gone_or_narrower_is_found() -> None:
    name = "SlotReport"
    assert recording.read({name: {"full": {"state": "melting"}}})
    assert recording.read({name: {"full": {"generation": -1}}})
    assert recording.read({"Report": {"least": {"schema": 1}}})


@pytest.mark.parametrize(
    ("agent", "host", "goes"),
    [
        ("0.3.0", "0.3.9", True), ("0.3.0", "0.4.0", True), ("0.4.1", "0.3.0", True), ("0.3.0", "0.5.0", False),
        ("0.5.0", "0.3.0", False), ("1.0.0", "0.9.0", False), ("0.9.0", "1.0.0", False), ("1.2", "1.3.0rc1", True),
        ("", "0.9.0", True), ("0.1.0", "", True), ("x", "0.9.0", True), ("0.10.0", "0.9.0", True),
        ("0.1.0", "0.10.0", False),
    ],
)  # fmt: skip
def test_one_minor_release_apart_is_let_in_and_two_are_not(agent: str, host: str, goes: bool) -> None:
    if goes:
        check_versions("pi-1", agent, host)
        return
    with pytest.raises(ContractError) as caught:
        check_versions("pi-1", agent, host)
    older = "on pi-1" if minor_of(agent) < minor_of(host) else "the control plane first"
    assert caught.value.code == "version-skew" and older in caught.value.hint


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_text_is_a_fault(agent: str, host: str) -> None:
    try:
        check_versions("pi-1", agent, host)
    except ContractError as error:
        assert error.code == "version-skew"
