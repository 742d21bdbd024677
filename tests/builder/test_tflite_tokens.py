"""int64 tokens through TFLite, whose converter makes int32 of them: manifest, goldens and the device say INT64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelift_agent.runtime import all_runtimes
from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_contract.errors import ContractError
from edgelift_contract.golden import parse_goldens
from tests.builder.conftest import ROOT, BuiltFolder
from tests.builder.tokens import Tokens

pytestmark = [pytest.mark.builder, pytest.mark.onnx]

RECIPE = 'name = "float"\n[[variant]]\nname = "float32"\nformat = "tflite"\nrequired = true\nsteps = ["export-tflite"]\n'


def test_whole_numbers_keep_their_width(tmp_path: Path) -> None:
    import torch

    (tmp_path / "float.toml").write_text(RECIPE)
    source = f"{ROOT / 'tests' / 'builder' / 'tokens.py'}:tokens"
    build(Request(source, ["x86-64"], recipe=str(tmp_path / "float.toml"), out=tmp_path / "r"), Quiet())
    ((identifier, manifest),) = BuiltFolder(tmp_path / "r", {}, "").manifests.items()
    kinds = {spec.name: spec.dtype for spec in (*manifest.inputs, *manifest.outputs)}
    assert kinds == {"ids": "INT64", "output_0": "FP32", "output_1": "INT64", "output_2": "INT64"}
    folder = tmp_path / "artifact"
    BuiltFolder(tmp_path / "r", {}, "").unpack(identifier, folder)
    for golden in parse_goldens((folder / manifest.goldens.path).read_bytes()):
        assert {t.name: t.dtype for t in (*golden.inputs, *golden.outputs)} == kinds
    device = all_runtimes()["litert"].load(folder, manifest)
    torch.manual_seed(0)
    model, ids = Tokens().eval(), np.random.default_rng(5).integers(0, 50, (1, 7))
    wanted = [t.detach().numpy() for t in model(torch.from_numpy(ids))]
    found = device.run({"ids": ids})
    for got, want in zip(found.values(), wanted, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    with pytest.raises(ContractError, match="does not fit"):
        device.run({"ids": ids + (1 << 40)})
