"""The demo's parts: requests that never stop, releases derived from a built one, the figures."""

import json
import shutil
import threading
import time
from pathlib import Path

import msgspec
import requests

from edgelift_contract import codec, golden, manifest, release

#: Longer than any answer takes on a busy machine, seconds.
PATIENCE_S = 120.0


class Load:
    """Requests at a fixed rate against one agent, from due times, whatever the answers take."""

    def __init__(self, port: int, rate_hz: float) -> None:
        self.sent = 0
        self.failures: list[str] = []
        self.by_version: dict[str, int] = {}
        self._url = f"http://127.0.0.1:{port}/v2/models/digits"
        self._interval_s = 1 / rate_hz
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        session = requests.Session()
        session.trust_env = False
        described = session.get(self._url, timeout=PATIENCE_S).json()["inputs"][0]
        shape = [1 if n == -1 else n for n in described["shape"]]
        count = 1
        for n in shape:
            count *= n
        due, step = time.monotonic(), 0
        while not self._stopping.is_set():
            step += 1
            values = [(step * 7 + i * 3) % 17 / 16 for i in range(count)]
            # The inputs' name is the model's own: builds for another runtime may call it otherwise.
            body = {"inputs": [{**described, "shape": shape, "data": values}]}
            self.sent += 1
            try:
                self._check(session.post(f"{self._url}/infer", json=body, timeout=PATIENCE_S))
            except requests.RequestException as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            due += self._interval_s
            self._stopping.wait(max(0.0, due - time.monotonic()))

    def _check(self, answer: requests.Response) -> None:
        if answer.status_code != 200:
            self.failures.append(f"{answer.status_code}: {answer.text[:200]}")
            return
        got = answer.json()
        scores = got["outputs"][0]["data"]
        if len(scores) != 10 or not all(isinstance(s, float) for s in scores):
            self.failures.append(f"not ten scores: {scores}")
        version = got["parameters"]["release"].partition("@")[2]
        self.by_version[version] = self.by_version.get(version, 0) + 1


def alter(path: Path) -> None:
    """Change one byte of a file, as one who broke in would."""
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def derive_release(source: Path, out: Path, version: str, *, spoil: bool = False, fresh: bool = False) -> None:
    """Another version of a built release.

    With `spoil`, the goldens' outputs are another model's (each value shifted by one); with `fresh`, only ONNX remains,
    each graph with a version number of its own in it: bytes that no other release has, and the same answers.
    """
    built = codec.decode_json((source / release.RELEASE_FILE).read_bytes(), release.Release, what="release")
    shutil.copytree(source, out)
    shutil.rmtree(out / release.MANIFESTS)
    (out / release.MANIFESTS).mkdir()
    artifacts = []
    for entry in built.artifacts:
        if fresh and entry.format != "onnx":
            continue
        data = (source / release.MANIFESTS / entry.id).read_bytes()
        made = msgspec.structs.replace(
            manifest.parse_manifest(data), version=version, release_counter=int(version), files=[], evidence=[]
        )
        files = list(manifest.parse_manifest(data).files)
        if spoil:
            files = [_spoiled(out, f) if f.role == "goldens" else f for f in files]
        if fresh:
            files = [_numbered(out, f, int(version)) if f.role == "model" else f for f in files]
        made = msgspec.structs.replace(made, files=files)
        artifact, canonical = manifest.dump_manifest(made)
        (out / release.MANIFESTS / artifact).write_bytes(canonical)
        artifacts.append(
            msgspec.structs.replace(
                entry, id=artifact, manifest_bytes=len(canonical), size_bytes=made.total_bytes, measurement=None
            )
        )
    derived = msgspec.structs.replace(built, version=version, release_counter=int(version), artifacts=artifacts)
    (out / release.RELEASE_FILE).write_bytes(codec.canonical_json(derived))
    used = {
        f.sha256
        for a in artifacts
        for f in manifest.parse_manifest((out / release.MANIFESTS / a.id).read_bytes()).files
    }
    for blob in (out / release.BLOBS).iterdir():
        if blob.name not in used:
            blob.unlink()


def _spoiled(out: Path, entry: manifest.FileEntry) -> manifest.FileEntry:
    import numpy as np

    goldens = golden.parse_goldens((out / release.BLOBS / entry.sha256).read_bytes())
    wrong = []
    for one in goldens:
        outputs = [
            msgspec.structs.replace(t, data=np.roll(np.frombuffer(t.data, "<f4"), 1).tobytes())
            for t in one.outputs
        ]
        wrong.append(msgspec.structs.replace(one, outputs=outputs))
    data = golden.dump_goldens(wrong)
    (out / release.BLOBS / codec.digest(data)).write_bytes(data)
    return manifest.FileEntry(entry.path, len(data), codec.digest(data), "goldens")


def _numbered(out: Path, entry: manifest.FileEntry, number: int) -> manifest.FileEntry:
    import onnx

    graph = onnx.load_model_from_string((out / release.BLOBS / entry.sha256).read_bytes())
    graph.model_version = number
    data = graph.SerializeToString(deterministic=True)
    (out / release.BLOBS / codec.digest(data)).write_bytes(data)
    return manifest.FileEntry(entry.path, len(data), codec.digest(data), entry.role)


def judge_figures(devices: dict[str, dict], releases: dict[str, Path], loads: dict[str, Load]) -> dict:
    """The figures that the demo must show, from what the control plane was told and the requests saw."""
    failures = [failure for load in loads.values() for failure in load.failures]
    for failure in failures[:5]:
        print("failed request:", failure)
    swaps = [swap for device in devices.values() for swap in device["swaps"]]
    return {
        "requests": sum(load.sent for load in loads.values()),
        "failed_requests": len(failures),
        "swaps": len(swaps),
        "commit_us_max": max((s["commit_us"] for s in swaps), default=0.0),
        "transports": sorted({device["device"]["transport"] for device in devices.values()}),
        "windows_received": sum(device["windows_received"] for device in devices.values()),
        "bytes_fetched": sum(swap.get("fetched_bytes", 0) for swap in swaps),
        **_what_served(devices, releases),
        "formats": sorted({name for folder in releases.values() for name in formats_in(folder)}),
    }


def _what_served(devices: dict[str, dict], releases: dict[str, Path]) -> dict:
    """Which variant the devices really went from and to, between versions 1 and 2, with its own accuracy and latency.

    Which one a device is given is decided by what the build measured, so it differs from machine to machine.
    """
    found: dict[str, object] = {}
    rows = [row for device in devices.values() for row in device["latency"]]
    for version, when in (("1", "before"), ("2", "after")):
        # Both devices are this machine and are given the same artifact; the one asked more often tells its latency.
        row = max((r for r in rows if r["version"] == version), key=lambda r: r["total"]["count"])
        report = json.loads((releases[version] / release.REPORT_FILE).read_text())
        served = next(
            c for c in report["candidates"] if c["artifact"] == row["artifact"] and c["rank"] is not None
        )
        found[f"served_{when}"] = f"{served['variant']} in {served['runtime']}"
        found[f"accuracy_{when}"] = served["value"]
        found[f"p50_us_{when}"] = row["total"]["p50_us"]
    shipped = [c for c in report["candidates"] if c["shipped"]]
    # Of the whole model where this machine's arithmetic let no int8 ship: what served is judged all the same.
    int8 = min(shipped, key=lambda c: (not c["variant"].startswith("int8"), c["rank"]))
    return found | {"accuracy_float": int8["baseline"], "accuracy_int8": int8["value"]}


def blobs_of(folder: Path) -> set[str]:
    """Digests of every file of a release."""
    return {path.name for path in (folder / release.BLOBS).iterdir()}


def formats_in(folder: Path) -> list[str]:
    """The formats of a release's artifacts."""
    data = json.loads((folder / release.RELEASE_FILE).read_text())
    return [artifact["format"] for artifact in data["artifacts"]]
