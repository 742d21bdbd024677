"""Evaluation data in an `.npz`: nothing that was meant to judge is left aside without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelift_builder.source import file_data
from edgelift_contract.errors import ContractError

pytestmark = pytest.mark.builder


def test_labels_under_another_name_are_not_left_aside(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=np.zeros((4, 3)), label=np.zeros(4))
    with pytest.raises(ContractError, match="holds label, which is no input") as told_so:
        file_data.read_npz(tmp_path / "data.npz", ["image"])
    assert "name it `labels`" in (told_so.value.hint or "")
    np.savez(tmp_path / "data.npz", image=np.zeros((4, 3)), labels=np.zeros(4), made_by=np.zeros(1))
    assert file_data.read_npz(tmp_path / "data.npz", ["image"]).evaluation_labels is not None
