"""A module that can't be scripted fails for the next target by the same reason as for the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelift_contract import ContractError

pytestmark = pytest.mark.builder
TIMES = 3  # a global: scripts can't see it


def test_the_reason_is_the_same_every_time(tmp_path: Path) -> None:
    import numpy as np
    import torch

    from edgelift_builder.convert.torchscript import script
    from edgelift_builder.source import held

    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * TIMES

    held.keep_example({"x": np.zeros((1, 2), np.float32)}, {"x": 0})
    model, said = Scaled().eval(), []
    for number in range(3):
        with pytest.raises(ContractError) as caught:
            script(model, tmp_path / f"{number}.pt")
        said.append(caught.value.message)
    assert "closed over global" in said[0] and len(set(said)) == 1
