"""The parsers of a device: what a control plane, a stick, a client of its models or its own configuration feed."""

from __future__ import annotations

import gzip
import json
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec

from edgelift_agent.artifact.carried import CarriedFolder
from edgelift_agent.config import load_config
from edgelift_agent.enrolling import pinned
from edgelift_agent.identity.identity import DeviceIdentity
from edgelift_agent.identity.kept import HostFile, IdentityFiles
from edgelift_agent.identity.keys import new_key, request_for
from edgelift_agent.link.answers import Answer, Route, failure
from edgelift_agent.link.http import HttpTransport
from edgelift_agent.link.mqtt import MqttTransport
from edgelift_agent.runtime.tensors import to_array
from edgelift_agent.serving.encoding import decode_body
from edgelift_agent.serving.http import read_order
from edgelift_agent.system.disk import Disk
from edgelift_contract import codec
from edgelift_contract.assignment import parse_assignment
from edgelift_contract.carried import signed_name
from edgelift_contract.enrol import BrokerAccess
from edgelift_contract.errors import ContractError
from edgelift_contract.golden import Golden, Tensor, dump_goldens, parse_goldens
from edgelift_contract.histogram import Histogram, HistogramData
from edgelift_contract.identity import EnrolToken, dump_token, parse_token
from edgelift_contract.manifest import TensorSpec, dump_manifest, parse_manifest
from edgelift_contract.replies import MARK
from tests.agent.identity.test_identity import Site
from tests.agent.test_protocol import X, body
from tests.agent.test_protocol import codec as v2
from tests.attacks.board import DEVICE, WAYS, Board, unpacked
from tests.contract.manifests import manifest, told
from tests.fuzz.parser import Parser
from tests.simulators import recording
from tests.simulators.file_server import FileServer

_HTTP = HttpTransport("https://farm:8470", "token", DEVICE)


def said(*kinds: str) -> Callable[[], list[bytes]]:
    """Messages of these kinds, with all of their fields and with as few as may be."""
    named = recording.kinds()
    return lambda: [
        codec.canonical_json(recording.make(named[kind], full=full)) for kind in kinds for full in (True, False)
    ]


@cache
def board() -> Board:
    """One that trusts a site and takes signed metadata over a broker: its folder lasts as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="edgelift-fuzz-"))
    return Board(folder, FileServer(), WAYS[1])


@cache
def honest() -> bytes:
    return board().honest()


def _packed(data: bytes, _: Path) -> object:
    board().trust.worth(data, "", 8 << 20)
    return board().trust.open(data)


def _role(data: bytes, _: Path) -> object:
    """In the place of one role of both repositories: of which, its length says."""
    files = unpacked(honest())
    name = sorted(files)[len(data) % len(files)]
    text = data.decode("utf-8", "replace").encode()
    return board().trust.open(board().signer.bundle({**files, name: text}))


def _stick(file: Path) -> object:
    return board().trust.carried(CarriedFolder(file.parents[2]).signed(DEVICE))


def _assignment(data: bytes, _: Path) -> object:
    """As `Link` and `Importing` take one that is trusted: read, then noted in its one form."""
    parse_assignment(data, device="digits")
    return codec.recoded(data, what="assignment")


def _goldens(data: bytes, _: Path) -> object:
    return [to_array(one) for golden in parse_goldens(data) for one in (*golden.inputs, *golden.outputs)]


def _golden_seeds() -> list[bytes]:
    words = Tensor("w", "BYTES", [1], b"\x01\x00\x00\x00a")
    return [dump_goldens([Golden([Tensor("x", "FP32", [2], bytes(8))], [words])]), dump_goldens([])]


def _histogram(data: bytes, _: Path) -> object:
    read = Histogram.from_data(codec.decode_json(data, HistogramData, what="histogram"))
    read.merge(Histogram(-4))
    return read.quantile(0.99), read.mean


def _histogram_seeds() -> list[bytes]:
    made = Histogram()
    made.record_all([0.0, 1.0, 7.5, 1e6])
    return [codec.canonical_json(made.to_data()), codec.canonical_json(HistogramData())]


@cache
def _site() -> Site:
    return Site()


@cache
def _key() -> bytes:
    return new_key()


def _certificates() -> list[bytes]:
    return [_site().certify(request_for(DEVICE, _key())).certificate.encode()]


def _certificate(file: Path) -> object:
    """What came as this device's certificate, and as who may vouch for its host."""
    text = file.read_bytes().decode("utf-8", "replace")
    DeviceIdentity.context(text)
    file.write_bytes(_key() + text.encode())
    IdentityFiles(file.parent, Disk()).load(DeviceIdentity.context(_site().pem), file)
    return None


def _host_file() -> list[bytes]:
    return [codec.canonical_json(HostFile(url="https://farm:8471", authorities=_site().pem))]


def _wish(data: bytes, _: Path) -> object:
    MqttTransport(BrokerAccess("farm", 1883), DEVICE, "e")._bundle(data)
    return None


def _reply(kind: str) -> Callable[[bytes, Path], object]:
    found = recording.kinds()[kind]
    return lambda data, _: _HTTP._reply(data, found, "reply")


def _refusals(data: bytes, _: Path) -> object:
    headers = {"content-type": "application/json", MARK.lower(): "1"}
    found = [
        failure(route, Answer(status, headers, data), host="farm")
        for route in get_args(Route)
        for status in (400, 401, 403, 404, 409, 413, 429, 500)
    ]
    return [str(one) for one in found]


def in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def call(data: bytes, folder: Path) -> object:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return read(folder / name)

    return call


def _config() -> list[bytes]:
    text = (
        'device = "pi-1"\nstate_dir = "/var/lib/edgelift"\n[host]\nurl = "https://farm:8470"\ntoken = "t"\n'
        '[serve]\nport = 8500\n[update]\nretry_first_s = 0.5\n[tags]\nhall = "2"\n'
    )
    return [text.encode(), (Path(__file__).parents[2] / "systemd" / "agent.toml").read_bytes()]


_SEVERAL = v2(X, TensorSpec("words", "BYTES", [-1]), TensorSpec("flags", "BOOL", [-1, 2]))
_TWO = v2(X, TensorSpec("words", "BYTES", [-1]))
_ONE = v2(X)


def _bodies() -> list[bytes]:
    words = {"name": "words", "datatype": "BYTES", "shape": [2], "data": ["a", "ä"]}
    flags = {"name": "flags", "datatype": "BOOL", "shape": [1, 2], "data": [True, False]}
    x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [[1.5, 2.5]]}
    asked = {"id": "7", "inputs": [x, words, flags], "parameters": {"timeout": 5}}
    wanted = [{"name": "y", "parameters": {"binary_data": True, "classification": 2}}]
    return [body(data=[1.5, 2.5]), msgspec.json.encode(asked), msgspec.json.encode({**asked, "outputs": wanted})]


def _infer(data: bytes, _: Path) -> object:
    return (_SEVERAL if b"words" in data else _ONE).decode(data, None)


def _binary() -> list[bytes]:
    sized: dict[str, Any] = {
        "name": "x",
        "datatype": "FP32",
        "shape": [1, 2],
        "parameters": {"binary_data_size": 8},
    }
    words = {"name": "words", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}}
    head = msgspec.json.encode({"inputs": [sized]})
    both = msgspec.json.encode({"inputs": [sized, words]})
    return [head + bytes(8), both + bytes(8) + b"\x03\x00\x00\x00abc"]


def _infer_binary(data: bytes, _: Path) -> object:
    """The JSON ends with the last brace; where that is elsewhere by now, so does what the header says."""
    ends = data.rfind(b"}") + 1
    try:
        _ONE.decode(data, 0)  # and as one raw tensor
    except ContractError:
        pass
    return (_TWO if b"words" in data else _ONE).decode(data, ends)


_TOKEN = EnrolToken(schema=1, url="https://farm:8470", pin="0" * 64, secret="deadbeef." + "A" * 43)
_LINK, _CONTRACT = "edgelift_agent.link", "edgelift_contract"

PARSERS = [
    Parser("manifest", lambda: [dump_manifest(one)[1] for one in (manifest(), told())], lambda data, _: parse_manifest(data),
           (f"{_CONTRACT}.manifest:parse_manifest",)),
    Parser("assignment", said("Assignment"), _assignment,
           (f"{_CONTRACT}.assignment:parse_assignment", f"{_CONTRACT}.codec:recoded"), 200),
    Parser("signed metadata, as it comes", lambda: [honest()],
           _packed,
           (f"{_CONTRACT}.signed:unpack_signed", f"{_CONTRACT}.signed:_inflated", "edgelift_agent.trust.glance:worth")),
    Parser("signed metadata, unpacked", lambda: [zlib.decompress(honest())],
           lambda data, folder: _packed(zlib.compress(data, 1), folder),
           ("edgelift_agent.trust.verifier:Verifier._told",)),
    Parser("a signed role", lambda: list(unpacked(honest()).values()), _role,
           ("edgelift_agent.trust.verifier:Verifier._told",), 150),
    Parser("a stick's folder", lambda: [honest()], in_file(signed_name(DEVICE), _stick)),
    Parser("goldens", _golden_seeds, _goldens,
           (f"{_CONTRACT}.golden:parse_goldens", "edgelift_agent.runtime.tensors:split_bytes")),
    Parser("histogram", _histogram_seeds, _histogram),
    Parser("enrolment reply", said("EnrolReply"), _reply("EnrolReply"), (f"{_LINK}.http:HttpTransport._reply",), 100),
    Parser("reply to a report", said("ReportReply"), _reply("ReportReply")),
    Parser("reply to telemetry", said("BatchReply"), _reply("BatchReply")),
    Parser("reply to a bundle", said("BundleReply"), _reply("BundleReply")),
    Parser("refusal", said("ErrorReply"), _refusals, (f"{_LINK}.answers:_reply_of",)),
    Parser("wish for a bundle", said("BundleAsked"), _wish, (f"{_LINK}.mqtt:MqttTransport._bundle",)),
    Parser("who may vouch", said("Authorities"), lambda data, _: pinned(data, "0" * 64),
           ("edgelift_agent.enrolling:pinned",)),
    Parser("enrolment token", lambda: [dump_token(_TOKEN).encode()], lambda data, _: parse_token(data.decode("latin-1")),
           (f"{_CONTRACT}.identity:parse_token",)),
    Parser("certificate", _certificates, in_file("device.pem", _certificate)),
    Parser("host.json", _host_file,
           in_file("identity/host.json", lambda file: IdentityFiles(file.parents[1], Disk()).host()),
           ("edgelift_agent.identity.kept:IdentityFiles.host",)),
    Parser("agent.toml", _config, in_file("agent.toml", load_config), ("edgelift_agent.config:load_config",), 150),
    Parser("inference request, JSON", _bodies, _infer, ("edgelift_agent.serving.protocol:Codec.decode",), 200),
    Parser("inference request, binary", _binary, _infer_binary, (), 200),
    Parser("body in gzip", lambda: [gzip.compress(body(data=[1.5, 2.5]), mtime=0)],
           lambda data, _: decode_body(data, b"gzip", 1 << 20), ("edgelift_agent.serving.encoding:_unpack",)),
    Parser("body in deflate", lambda: [zlib.compress(body(data=[1.5, 2.5])), zlib.compress(bytes(1 << 20))],
           lambda data, _: decode_body(data, b"deflate", 1 << 20)),
    Parser("order about a model", lambda: [json.dumps({"parameters": {"artifact": "a"}}).encode()],
           lambda data, _: read_order(data), ("edgelift_agent.serving.http:read_order",)),
]  # fmt: skip
