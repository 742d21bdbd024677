"""A manifest reads back equal, hashes to one id, and what is wrong with one is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from edgelift_contract import ContractError, codec
from edgelift_contract.manifest import (
    MAX_MANIFEST_BYTES,
    FileEntry,
    Goldens,
    Manifest,
    Tolerance,
    check_path,
    dump_manifest,
    parse_manifest,
)
from tests.contract.manifests import GOLDENS, GRAPH, manifest, manifests

VECTORS = Path(__file__).parent.parent / "vectors" / "manifest"


@given(manifests)
def test_a_manifest_reads_back_equal(made: Manifest) -> None:
    identifier, data = dump_manifest(made)
    assert parse_manifest(data) == made
    assert dump_manifest(parse_manifest(data)) == (identifier, data)


@given(manifests)
def test_canonical_bytes_are_sorted_and_without_white_space(made: Manifest) -> None:
    data = dump_manifest(made)[1]
    loaded: list[list[str]] = []
    json.loads(data, object_pairs_hook=lambda pairs: loaded.append([name for name, _ in pairs]))
    assert loaded and all(names == sorted(names) for names in loaded)
    assert not re.search(rb"\s", re.sub(rb'"(?:\\.|[^"\\])*"', b"", data))


def test_the_id_follows_from_every_field() -> None:
    seen = {dump_manifest(manifest())[0]}
    for change in ({"version": "3"}, {"variant": "float32"}, {"release_counter": 9}, {"runtime_range": ""}):
        seen.add(dump_manifest(manifest(**change))[0])
    assert len(seen) == 5


def test_what_a_newer_release_adds_is_no_obstacle() -> None:
    fields = json.loads(dump_manifest(manifest())[1]) | {"added_later": {"anything": 1}}
    assert parse_manifest(json.dumps(fields).encode()) == manifest()


@pytest.mark.parametrize("vector", sorted(VECTORS.glob("*/*.json")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_manifest_ever_released_still_parses_and_keeps_its_id(vector: Path) -> None:
    data = vector.read_bytes()
    recorded = vector.with_suffix(".id").read_text().strip()
    assert codec.digest(data) == recorded
    assert dump_manifest(parse_manifest(data)) == (recorded, data)


def test_there_are_vectors() -> None:
    assert list(VECTORS.glob(f"{Manifest.SCHEMA}/*.json"))


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../up", "a/../b", "a//b", "a/", "./a", ".hidden", "a/.hidden", "a\\b", "C:x", "a\0b",
        "a\nb", "a\rb", 'a"b', "x" * 256,
    ],
)  # fmt: skip
def test_a_path_that_leaves_the_folder_is_refused(path: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_path(path)
    assert caught.value.code == "bad-path"
    files = [FileEntry(path, 1, GRAPH, "model"), FileEntry("g", 1, GOLDENS, "goldens")]
    with pytest.raises(ContractError) as caught:
        parse_manifest(dump_manifest(manifest(files=files))[1])
    assert caught.value.code == "bad-path"


@pytest.mark.parametrize("path", ["model.onnx", "a/b/c.bin", "weights-0001.bin", "x" * 255])
def test_a_plain_path_is_fine(path: str) -> None:
    assert check_path(path) == path


def _changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(dump_manifest(manifest())[1]) | changes).encode()


def _without(field: str) -> bytes:
    fields = json.loads(dump_manifest(manifest())[1])
    del fields[field]
    return json.dumps(fields).encode()


_TWICE = [FileEntry("m", 1, GRAPH, "model"), FileEntry("m", 1, GRAPH, "goldens")]
_NO_MODEL = [FileEntry("goldens.msgpack", 1, GOLDENS, "goldens")]


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "malformed", "schema"),
        (b"not json", "malformed", "schema"),
        (b"\xff\xfe", "malformed", ""),
        (b"[" * 100_000, "malformed", ""),
        (_without("schema"), "malformed", "schema"),
        (_changed(schema=2), "unknown-schema", "schema 2"),
        (_changed(schema="1"), "malformed", "schema"),
        (_without("files"), "malformed", "files"),
        (_changed(hardware_class="pdp-11"), "malformed", "hardware_class"),
        (_changed(model="../x"), "malformed", "model"),
        (_changed(release_counter=-1), "malformed", "release_counter"),
        (_changed(files=[]), "malformed", "files"),
        (msgspec.json.encode(manifest(files=_TWICE)), "malformed", "twice"),
        (msgspec.json.encode(manifest(files=_NO_MODEL)), "malformed", "model"),
        (msgspec.json.encode(manifest(goldens=Goldens("no", 1, Tolerance("k", 0)))), "malformed", "goldens"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "too-large", "bytes"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, code: str, words: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_manifest(data)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


@given(manifests)
def test_a_truncated_manifest_is_refused(made: Manifest) -> None:
    data = dump_manifest(made)[1]
    for cut in (1, len(data) // 2, len(data) - 1):
        with pytest.raises(ContractError) as caught:
            parse_manifest(data[:cut])
        assert caught.value.code == "malformed"
