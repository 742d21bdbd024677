"""What `edgelift build` leaves behind is whole, true, the same again, and holds no path."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelift_contract import codec
from edgelift_contract.golden import Tensor, parse_goldens, tolerance_key
from edgelift_contract.hardware import ACCEPTS, these_kernels, this_machine
from edgelift_contract.histogram import Histogram
from edgelift_contract.manifest import Manifest
from edgelift_contract.release import Release
from tests.builder.conftest import EXAMPLE, ROOT, TINY, BuiltFolder, edgelift

pytestmark = [pytest.mark.builder, pytest.mark.usefixtures("twin_begun")]


def candidates(built: BuiltFolder, **wanted: str) -> list[dict[str, Any]]:
    return [c for c in built.report["candidates"] if all(c[k] == v for k, v in wanted.items())]


def test_every_file_is_what_its_name_says(built: BuiltFolder) -> None:
    named = set()
    for identifier, manifest in built.manifests.items():
        assert codec.digest((built.folder / "manifests" / identifier).read_bytes()) == identifier
        for entry in manifest.files:
            data = (built.folder / "blobs" / entry.sha256).read_bytes()
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry.sha256, entry.size_bytes)
            named.add(entry.sha256)
    assert {p.name for p in (built.folder / "blobs").iterdir()} == named
    assert {p.name for p in built.folder.iterdir()} == {
        "release.json",
        "report.json",
        "report.html",
        "manifests",
        "blobs",
    }


def test_the_release_lists_its_artifacts_best_first(built: BuiltFolder) -> None:
    """By what was measured where it was, which differs from machine to machine; else in the target's own order: int8 first
    on a Pi, float where int8 has to be measured faster.
    """
    release = codec.decode_json((built.folder / "release.json").read_bytes(), Release, what="release")
    assert (release.model, release.version, release.release_counter) == ("digits", "1", 1)
    assert {a.id for a in release.artifacts} == set(built.manifests)
    for hardware_class in ("x86-64-avx2", "arm64-neon"):
        mine = [a for a in release.artifacts if a.hardware_class == hardware_class]
        mine.sort(key=lambda a: a.rank)
        assert [a.rank for a in mine] == list(range(len(mine)))
        if hardware_class == this_machine():
            p50 = {(c["format"], c["variant"]): c["p50_us"] for c in candidates(built, target="x86-64")}
            assert [p50[a.format, a.variant] for a in mine] == sorted(p50[a.format, a.variant] for a in mine)
        else:
            variants = [a.variant for a in mine]
            float_first = hardware_class == "x86-64-avx2"
            assert (variants.index("float32") < variants.index("int8-static")) == float_first
            assert mine[-1].format == "torchscript"
            assert all(built.manifests[a.id].unmeasured for a in mine)
    for artifact in release.artifacts:
        manifest = built.manifests[artifact.id]
        assert artifact.manifest_bytes == (built.folder / "manifests" / artifact.id).stat().st_size
        assert artifact.size_bytes == manifest.total_bytes


def test_all_formats_are_built_for_both_targets(built: BuiltFolder) -> None:
    # Without VNNI what is not clearly faster stays out, and says so.
    made = {
        (c["target"], c["format"], c["variant"])
        for c in built.report["candidates"]
        if c["shipped"] or (c["code"] == "no-gain" and c["target"] == "x86-64" and this_machine() == "x86-64-avx2")
    }
    variants = {"onnx": "int8-static", "tflite": "int8-static", "torchscript": "int8-dynamic"}
    for target in ("x86-64", "rpi4"):
        for format_name, int8 in variants.items():
            assert {(target, format_name, "float32"), (target, format_name, int8)} <= made


def left_out(built: BuiltFolder) -> set[tuple[str, str, str]]:
    """What was not clearly faster where that has to be measured: another build on the same machine may find that it is."""
    return {
        ("x86-64-avx2", c["format"], c["variant"])
        for c in built.report["candidates"]
        if c["code"] == "no-gain" and c["target"] == "x86-64" and this_machine() == "x86-64-avx2"
    }


def test_two_builds_in_two_folders_give_the_same_artifacts(built: BuiltFolder, twin: BuiltFolder) -> None:
    measured = left_out(built) | left_out(twin)
    one, other = (
        {
            identifier: {file.sha256 for file in manifest.files}
            for identifier, manifest in of.manifests.items()
            if (manifest.hardware_class, manifest.format, manifest.variant) not in measured
        }
        for of in (built, twin)
    )
    assert one == other
    assert len(one) >= 6


def test_no_path_and_no_user_travels(built: BuiltFolder, twin: BuiltFolder) -> None:
    private = [
        str(ROOT), str(EXAMPLE.parent), str(built.folder.parent), str(twin.folder.parent.parent), "site-packages",
        *(f"/{top}/" for top in ("tmp", "home", "root", "usr")), "simplecnn.py\"", ".edgelift-partial", str(Path.home()),
    ]  # fmt: skip
    for folder in (built.folder, twin.folder):
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert [p for p in private if len(p) > 3 and p.encode() in data] == [], path
                assert not re.search(rb'"/[a-z]+/', data) or path.parent.name == "blobs", path


def test_weights_are_shared_between_targets(built: BuiltFolder) -> None:
    weights = {
        (m.hardware_class, f.role): f.sha256
        for m in built.manifests.values()
        if m.format == "onnx" and m.variant == "float32"
        for f in m.files
    }
    for role in ("model", "weights", "goldens"):
        assert weights["x86-64-avx2", role] == weights["arm64-neon", role]


def test_the_scheme_follows_the_target(built: BuiltFolder, tmp_path: Path) -> None:
    import onnx

    kinds = {}
    for identifier, manifest in built.manifests.items():
        if (manifest.format, manifest.variant) != ("onnx", "int8-static"):
            continue
        built.unpack(identifier, tmp_path / identifier)
        graph = onnx.load(tmp_path / identifier / "model.onnx").graph
        weights = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        wide = [w for n, w in weights.items() if w.dtype == np.int8 and w.size > 100]
        assert wide and min(int(w.min()) for w in wide) >= -127
        zero_points = {n.input[2] for n in graph.node if n.op_type == "QuantizeLinear"}
        kinds[manifest.hardware_class] = (
            {weights[z].dtype.name for z in zero_points},
            max(int(w.max()) for w in wide),
        )
        assert ("session.qdqisint8allowed" in manifest.options.entries) == (
            manifest.hardware_class == "arm64-neon"
        )
    assert kinds["arm64-neon"] == ({"int8"}, 127)
    if ("x86-64-avx2", "onnx", "int8-static") not in left_out(built):
        assert kinds["x86-64-avx2"][0] == {"uint8"}
        assert kinds["x86-64-avx2"][1] <= 64  # reduce_range: seven bits


def test_int8_is_smaller_and_keeps_its_budget(built: BuiltFolder) -> None:
    for c in built.report["candidates"]:
        assert c["verdict"] == "holds" and c["n"] == 1200
        assert c["loss_low"] <= c["loss"] <= c["loss_high"] <= c["budget"] == 0.5 or c["variant"] == "float32"
        if c["variant"] == "int8-static":
            assert c["size_ratio"] > 3.5
        if c["variant"] == "float32":
            assert (c["lost"], c["gained"], c["size_ratio"]) == (0, 0, 1.0)
    assert candidates(built, variant="float32")[0]["value"] > 0.95


def test_latency_is_measured_where_it_can_be_and_nowhere_else(built: BuiltFolder) -> None:
    here = "x86-64-avx2" in ACCEPTS[this_machine()]
    for c in built.report["candidates"]:
        if c["target"] == "rpi4" or not here:
            assert c["p50_us"] is None and c["latency"] == "to be measured on the device"
            continue
        assert 0 < c["p50_us"] <= c["p95_us"] and c["rounds"] >= 200
        assert c["load_ms"] > 0 and c["peak_memory_bytes"] > 0
        assert c["float_ratio"] == 1.0 or c["variant"] != "float32"
    for artifact in built.release["artifacts"]:
        measured = artifact.get("measurement")
        assert (measured is not None) == (here and artifact["hardware_class"] == "x86-64-avx2")
        if measured:
            assert measured["artifact"] == artifact["id"]
            counts = measured["latency_us"]["counts"]
            assert sum(counts) >= 200
    assert Histogram().scale == 4


def test_what_stayed_float_is_said(built: BuiltFolder) -> None:
    for c in candidates(built, variant="int8-dynamic"):
        assert c["left_float"] == ["conv1 (Conv2d)", "conv2 (Conv2d)"]
    for c in candidates(built, variant="int8-static", format="onnx"):
        assert c["left_float"] == []


def array(tensor: Tensor) -> np.ndarray:
    kinds = {"FP32": "<f4", "INT64": "<i8", "INT8": "<i1"}
    return np.frombuffer(tensor.data, kinds[tensor.dtype]).reshape(tensor.shape)


def answers(manifest: Manifest, folder: Path, tensors: list[Tensor]) -> dict[str, np.ndarray]:
    """An artifact's own answer, by code that shares nothing with the builder's."""
    inputs = {t.name: array(t) for t in tensors}
    path = str(folder / manifest.model_file.path)
    names = [o.name for o in manifest.outputs]
    if manifest.runtime == "onnxruntime":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = manifest.options.threads
        for key, value in manifest.options.entries.items():
            options.add_session_config_entry(key, value)
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, inputs), strict=True))
    if manifest.runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(path, num_threads=manifest.options.threads).get_signature_runner("serving_default")
        return dict(runner(**inputs))
    import torch

    torch.set_num_threads(manifest.options.threads)
    with torch.no_grad():
        found = torch.jit.load(path)(*(torch.tensor(inputs[i.name]) for i in manifest.inputs))
    return {names[0]: found.numpy()}


def test_goldens_are_answered_to_the_bit_under_their_key(built: BuiltFolder, tmp_path: Path) -> None:
    kernels = these_kernels()
    for identifier in built.manifests:
        manifest = built.unpack(identifier, tmp_path / identifier)
        version = built.report["runtimes"][manifest.runtime]
        key = tolerance_key(kernels, manifest.runtime, version, manifest.options)
        assert manifest.goldens.tolerance.key == key
        goldens = parse_goldens((tmp_path / identifier / manifest.goldens.path).read_bytes())
        assert len(goldens) == manifest.goldens.count == 16
        for golden in goldens:
            found = answers(manifest, tmp_path / identifier, golden.inputs)
            for tensor in golden.outputs:
                assert tensor.shape[0] == 1
                np.testing.assert_array_equal(found[tensor.name], array(tensor))


def test_goldens_hold_hard_cases_whose_winner_is_not_chance(built: BuiltFolder, tmp_path: Path) -> None:
    for identifier in built.manifests:
        manifest = built.unpack(identifier, tmp_path / identifier)
        goldens = parse_goldens((tmp_path / identifier / manifest.goldens.path).read_bytes())
        margins = []
        for golden in goldens:
            top = np.sort(array(golden.outputs[0]).ravel())
            margins.append(float(top[-1] - top[-2]))
        assert min(margins) > 2 * manifest.goldens.tolerance.atol
        assert min(margins) < 0.25 * max(margins)


def test_interfaces_are_the_same_in_every_format(built: BuiltFolder) -> None:
    # So that a device may change between variants without its clients noticing.
    for manifest in built.manifests.values():
        batch = 1 if manifest.format == "tflite" else -1
        assert [(i.name, i.dtype, i.shape) for i in manifest.inputs] == [("x", "FP32", [batch, 1, 24, 24])]
        assert [(o.name, o.dtype, o.shape) for o in manifest.outputs] == [("output_0", "FP32", [batch, 10])]


def test_onnx_takes_any_batch(built: BuiltFolder, tmp_path: Path) -> None:
    for identifier, manifest in built.manifests.items():
        if manifest.format != "onnx":
            continue
        built.unpack(identifier, tmp_path / identifier)
        one = parse_goldens((tmp_path / identifier / "goldens.msgpack").read_bytes())[0]
        seven = Tensor("x", "FP32", [7, 1, 24, 24], one.inputs[0].data * 7)
        found = answers(manifest, tmp_path / identifier, [seven])["output_0"]
        np.testing.assert_allclose(found, np.repeat(array(one.outputs[0]), 7, axis=0), atol=1e-4)


def test_json_is_all_that_is_printed(built: BuiltFolder) -> None:
    assert built.report["schema"] == 1
    assert built.stderr == ""


def test_brackets_in_paths_and_names_are_no_markup(tmp_path: Path, float_recipe: Path) -> None:
    home = tmp_path / "[x]" / "a["
    home.mkdir(parents=True)
    shutil.copy(TINY, home / "[bold]tiny.py")
    done = edgelift(
        "build", f"{home}/[bold]tiny.py:named_in_brackets", "--target", "x86-64", "--recipe", float_recipe,
        "--out", home / "]b",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"Release: {tmp_path}/[x]/a[/]b" in done.stdout and "[/red]score[x]" in done.stdout
    assert "Running named_in_brackets in [bold]tiny.py" in done.stderr
