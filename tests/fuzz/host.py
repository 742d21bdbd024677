"""The parsers of a control plane and its commands: what devices, operators, publishers, other servers and its files feed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal, cast

import edgelift_fleet
from edgelift.plan_file import make_request, parse_words, read_plan_file
from edgelift_agent.identity.keys import new_key, request_for
from edgelift_contract import codec
from edgelift_contract.bundle import BundleAbout, pack, unpack
from edgelift_contract.errors import ContractError
from edgelift_contract.identity import Authorities
from edgelift_contract.manifest import dump_manifest
from edgelift_contract.release import Release, ReleaseArtifact
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.client import read_answer, read_refusal
from edgelift_fleet.first_contact import read_authorities
from edgelift_fleet.identity.authority import Authority, key_of, pin_of
from edgelift_fleet.intake import _KINDS, Intake, Message, enrolment_of
from edgelift_fleet.messages import AssignManyRequest, DeviceDetail, DeviceSearch, RolloutRequest, TokenRequest
from edgelift_fleet.messages.trust import ImageRoles
from edgelift_fleet.mqtt.broker_folder import PLAN, BrokerPlan, kept_plan
from edgelift_fleet.mqtt.messaging import parse_broker
from edgelift_fleet.release_folder import judge_manifest, parse_release_file
from edgelift_fleet.selector import parse_selector
from edgelift_fleet.simulate.profile import load_profile
from edgelift_fleet.site import load_site
from edgelift_fleet.trust.carried import ToSign, change_of, read_carried
from edgelift_fleet.trust.image import Image
from edgelift_fleet.trust.key_files import KeyFile, Scrypted, read_key_file
from tests.attacks.board import unpacked
from tests.contract.manifests import manifest
from tests.fuzz.device import board, honest, in_file, said
from tests.fuzz.parser import Parser
from tests.simulators import recording


def _spoken(kind: str) -> Callable[[bytes, Path], object]:
    """A message of a device's, over either link, as far as it is read before anything is stored."""
    read = _KINDS[kind]
    return lambda data, _: read(cast("Intake", None), Message(cast("Literal['report']", kind), "digits", data))


def _telemetry() -> list[bytes]:
    """A batch with one item of each kind."""
    made = recording.make(recording.kinds()["Batch"], full=True)
    (item,) = made["items"]
    items = [{"seq": n, kind: item[kind]} for n, kind in enumerate(item) if kind != "seq"]
    return [codec.canonical_json({**made, "items": items})]


@cache
def _key() -> bytes:
    return new_key()


def _bundle_seeds() -> list[bytes]:
    about = BundleAbout(schema=1, device="pi-1", bundle="0" * 32, made_at=1.0, missing={"journal": "no"})
    return [pack(about, {"log.txt": b"line\n" * 20, "doctor.json": b"{}"})]


def _bundle(data: bytes, _: Path) -> object:
    return unpack(data, device="pi-1", bundle="0" * 32)


def _release(data: bytes, _: Path) -> object:
    return parse_release_file(data)


def _listed(data: bytes, _: Path) -> object:
    """A manifest beside a release that lists it."""
    said, (name, text) = manifest(), dump_manifest(manifest())
    entry = ReleaseArtifact(
        id=name, manifest_bytes=len(text), hardware_class=said.hardware_class, targets=["rpi4"], runtime=said.runtime,
        format=said.format, variant=said.variant, rank=0, size_bytes=said.total_bytes,
    )  # fmt: skip
    release = Release(schema=1, model="digits", version="2", release_counter=2, artifacts=[entry])
    return judge_manifest(data, release, entry)


def _asked(data: bytes, _: Path) -> object:
    """As every request of operators' is read; whichever of the kinds it is."""
    refused = None
    for kind in (AssignManyRequest, DeviceSearch, RolloutRequest, TokenRequest):
        try:
            return decode_asked(data, kind)
        except ContractError as error:
            refused = error
    assert refused is not None
    raise refused


def _answers() -> list[bytes]:
    return [codec.canonical_json(recording.make(DeviceDetail, full=full)) for full in (True, False)]


def _asked_seeds() -> list[bytes]:
    return [
        codec.canonical_json(AssignManyRequest("digits@2", "tag:hall=2")), codec.canonical_json(TokenRequest()),
        codec.canonical_json(DeviceSearch(to="all")),
        codec.canonical_json(RolloutRequest(release="digits@2", to="all", waves=["1", "100%"])),
    ]  # fmt: skip


def _pin(data: bytes, _: Path) -> object:
    """What it holds is the site's own; ValueError is what it says that it raises."""
    try:
        return pin_of(data.decode("utf-8", "replace"))
    except ValueError:
        return None


@cache
def _authority() -> Authority:
    return Authority.make("farm", 1_800_000_000.0)


def _plan(file: Path) -> object:
    return make_request(read_plan_file(file))


def _words(data: bytes, _: Path) -> object:
    return make_request(parse_words(data.decode("utf-8", "replace").split(";")))


def _metadata(data: bytes, _: Path) -> object:
    return Image.load({"root": data, "targets": data})


def _roles() -> list[bytes]:
    return [data for name, data in unpacked(honest()).items() if "/assignment" not in name]


def _private(file: Path) -> Path:
    file.chmod(0o600)
    return file


def _key_files() -> list[bytes]:
    file = KeyFile(
        schema=1, name="root-1", public="00" * 32, scrypt=Scrypted("00" * 16), nonce="00" * 12, sealed="00" * 48
    )
    return [codec.canonical_json(file)]


def _carried_seeds() -> list[bytes]:
    files = board().signer.files()
    roles = {
        role: files[name].decode() for name in files for role in ("root", "targets", "builder") if role in name
    }
    standing = ImageRoles(
        roles, next(files[name].decode() for name in files if "director" in name and "root" in name)
    )
    return [codec.canonical_json(ToSign(schema=1, why="w", standing=standing, changed=ImageRoles({}, "")))]


_FLEET = "edgelift_fleet"
_SITE = b'schema = 1\nname = "farm"\ntls = true\nnames = ["farm.local"]\ntelemetry_days = 30\n'
_PROFILE = (Path(edgelift_fleet.__file__).parent / "simulate" / "profiles" / "barn.toml").read_bytes()
_PLAN = b'release = "digits@2"\nto = "tag:hall=2"\nwaves = ["1", "25%", "100%"]\nsoak = "10m"\ncomment = "x"\n'

PARSERS = [
    Parser("enrolment", said("EnrolRequest"), lambda data, _: enrolment_of(data),
           (f"{_FLEET}.intake:device_of", f"{_FLEET}.intake:enrolment_of", "edgelift_contract.fitting:decode_clean",
            "edgelift_contract.codec:decode_json", "edgelift_contract.codec:_check_schema"), 150),
    Parser("report", said("Report"), _spoken("report"), (f"{_FLEET}.intake:_Report.__init__",), 200),
    Parser("telemetry", _telemetry, _spoken("telemetry"), (f"{_FLEET}.intake:_Batch.__init__",), 200),
    Parser("presence", said("Presence"), _spoken("presence"), (f"{_FLEET}.intake:_Presence.__init__",)),
    Parser("bundle, as it comes", _bundle_seeds, _bundle,
           ("edgelift_contract.bundle:unpack", "edgelift_contract.bundle:_decompressed")),
    Parser("bundle, unpacked", lambda: [gzip.decompress(_bundle_seeds()[0])],
           lambda data, folder: _bundle(b"\x1f\x8b\x08\0" + gzip.compress(data, 1, mtime=0)[4:], folder), (), 150),
    Parser("request for a certificate", lambda: [request_for("pi-1", _key()).encode()],
           lambda data, _: key_of(data.decode("latin-1"), "pi-1"), (f"{_FLEET}.identity.authority:key_of",), 100),
    Parser("authority's certificate", lambda: [_authority().certificate.encode()], _pin,
           (f"{_FLEET}.identity.authority:pin_of",)),
    Parser("authority's files", lambda: [_authority().certificate.encode()],
           lambda data, _: Authority.load(_authority().key, data), (f"{_FLEET}.identity.authority:Authority.load",)),
    Parser("authority's key", lambda: [_authority().key],
           lambda data, _: Authority.load(data, _authority().certificate.encode())),
    Parser("release.json", said("Release"), _release, (f"{_FLEET}.release_folder:parse_release_file",), 150),
    Parser("manifest in a release", lambda: [dump_manifest(manifest())[1]], _listed),
    Parser("request of an operator", _asked_seeds, _asked, (f"{_FLEET}.api.asked:decode_asked",), 200),
    Parser("answer to a command", _answers,
           lambda data, _: read_answer(data, DeviceDetail),
           (f"{_FLEET}.client:read_answer",)),
    Parser("refusal of a command", said("ErrorReply"), lambda data, _: str(read_refusal(404, data)),
           (f"{_FLEET}.client:read_refusal",)),
    Parser("authorities of a site",
           lambda: [codec.canonical_json(Authorities(schema=1, certificates=_authority().certificate))],
           lambda data, _: read_authorities(data, "https://farm"), (f"{_FLEET}.first_contact:read_authorities",)),
    Parser("a broker's address", lambda: [b"mqtts://user:password@farm:8883"],
           lambda data, _: parse_broker(data.decode("utf-8", "replace"))),
    Parser("selector", lambda: [b'(tag:hall=2 or id:"pi-1") and not class:arm64-*', b"all"],
           lambda data, _: parse_selector(data.decode("utf-8", "replace")), (), 150),
    Parser("site.toml", lambda: [_SITE], in_file("site.toml", lambda file: load_site(file.parent)),
           (f"{_FLEET}.site:load_site",), 150),
    Parser("profile", lambda: [_PROFILE], in_file("barn.toml", load_profile), (f"{_FLEET}.simulate.profile:load_profile",)),
    Parser("plan", lambda: [_PLAN], in_file("plan.toml", _plan), ("edgelift.plan_file:read_plan_file",), 150),
    Parser("words of a plan", lambda: [b'release=digits@2;to=all;waves=["1","100%"];soak=5m'], _words,
           ("edgelift.plan_file:_value",)),
    Parser("a broker's folder", lambda: [codec.canonical_json(BrokerPlan(["broker.farm"], at="/etc/mosquitto"))],
           in_file(PLAN, lambda file: kept_plan(file.parent)), (f"{_FLEET}.mqtt.broker_folder:kept_plan",)),
    Parser("signed metadata that is published", _roles, _metadata, (f"{_FLEET}.trust.image:Image.load",), 150),
    Parser("a key's file", _key_files, in_file("key", lambda file: read_key_file(_private(file))),
           (f"{_FLEET}.trust.key_files:read_key_file",)),
    Parser("what is carried to be signed", _carried_seeds, in_file("carried", lambda file: change_of(read_carried(file))),
           (f"{_FLEET}.trust.carried:read_carried",)),
]  # fmt: skip
