"""Sources that come with an OpenSSF Model Signing signature: real ones, made by the library."""

import base64
import datetime as dt
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgelift_builder.source import vouched
from edgelift_builder.source.vouched import verify_source
from edgelift_contract import codec
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.manifest import Provenance, SourceSignature

#: `scripts/test-oms` has an environment of their own for those that need it.
LACKING = "the extra [oms] is not installed: scripts/test-oms has an environment for it"


class Signer:
    """A key, and what signs with it."""

    def __init__(self, folder: Path) -> None:
        made, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
        self.private, self.public = folder / "private.pem", folder / "public.pem"
        folder.mkdir()
        self.private.write_bytes(
            made.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        self.public.write_bytes(
            made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def sign(self, model: Path, signature: Path) -> None:
        library: Any = pytest.importorskip(
            "model_signing",
            reason=LACKING,
        )
        hashing = library.hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=True)
        config = library.signing.Config().use_elliptic_key_signer(private_key=self.private)
        config.set_hashing_config(hashing).sign(model, signature)


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(EdgeliftError) as caught:
        call()
    return caught.value.code


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "net.onnx").write_bytes(b"graph")
    (tmp_path / "model" / "net.onnx.data").write_bytes(b"weights")
    return tmp_path / "model" / "net.onnx"


def test_a_signature_that_holds_is_told(model: Path, tmp_path: Path) -> None:
    signer, other = Signer(tmp_path / "a"), Signer(tmp_path / "b")
    signature = tmp_path / "one.sig"
    signer.sign(model, signature)
    found = verify_source(model, signature, signer.public, ())
    assert found is not None
    assert found.signer == f"key sha256:{codec.digest(signer.public.read_bytes())}"
    assert found.signature_sha256 == codec.digest(signature.read_bytes())
    assert code(lambda: verify_source(model, signature, other.public, ())) == "not-signed"
    assert code(lambda: verify_source(model, signature, signature, ())) == "malformed"
    assert code(lambda: verify_source(model, signature, tmp_path / "none.pem", ())) == "malformed"
    bundle = json.loads(signature.read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"net.onnx", b"net.omnx")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (tmp_path / "altered.sig").write_text(json.dumps(bundle))
    assert code(lambda: verify_source(model, tmp_path / "altered.sig", signer.public, ())) == "not-signed"
    model.write_bytes(b"grap!")
    assert code(lambda: verify_source(model, signature, signer.public, ())) == "digest-mismatch"


def certified(folder: Path, signer: Signer, name: str) -> tuple[Path, Path]:
    """Certificates for a signer's key: its own, and its CA's."""
    root = ec.generate_private_key(ec.SECP256R1())
    key = serialization.load_pem_public_key(signer.public.read_bytes())
    now, ca = dt.datetime.now(dt.timezone.utc), x509.Name.from_rfc4514_string(f"CN={name} CA")
    files = []
    for subject, public, is_ca in ((f"CN={name}", key, False), (f"CN={name} CA", root.public_key(), True)):
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only", "crl_sign"), False,
        )  # fmt: skip
        made = (
            x509.CertificateBuilder().subject_name(x509.Name.from_rfc4514_string(subject)).issuer_name(ca)
            .public_key(public).serial_number(x509.random_serial_number())  # type: ignore[arg-type]  # an EC key
            .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=not is_ca, key_cert_sign=is_ca, **usage), critical=True)
            .sign(root, hashes.SHA256())
        )  # fmt: skip
        files.append(folder / f"{name}-{'ca' if is_ca else 'own'}.pem")
        files[-1].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return files[0], files[1]


def test_a_signer_may_be_known_by_its_ca(model: Path, tmp_path: Path) -> None:
    library: Any = pytest.importorskip("model_signing", reason=LACKING)
    signer, signature = Signer(tmp_path / "a"), tmp_path / "one.sig"
    own, root = certified(tmp_path, signer, "Acme")
    _, other = certified(tmp_path, signer, "Other")
    config = library.signing.Config().use_certificate_signer(
        private_key=signer.private, signing_certificate=own, certificate_chain=[root]
    )
    config.sign(model, signature)
    found = verify_source(model, signature, None, [root])
    assert (
        found is not None and found.signer.startswith("certificate sha256:") and found.signer.endswith(" CN=Acme")
    )
    assert code(lambda: verify_source(model, signature, None, [other])) == "not-signed"
    assert code(lambda: verify_source(model, signature, None, [signature])) in ("malformed", "not-signed")
    assert code(lambda: verify_source(model, signature, signer.public, [root])) == "malformed"  # one or the other
    assert code(lambda: verify_source(model, signature, signer.public, ())) == "not-signed"


def test_a_folder_is_held_whole(model: Path, tmp_path: Path) -> None:
    signer, beside = Signer(tmp_path / "a"), model.parent / "model.sig"
    signer.sign(model.parent, beside)
    assert verify_source(model, None, signer.public, ()) is not None
    assert code(lambda: verify_source(model, None, None, ())) == "malformed"  # whose is it to be?
    (model.parent / "more.onnx").write_bytes(b"one more")
    (model.parent / "net.onnx.data").write_bytes(b"weightz")
    with pytest.raises(EdgeliftError, match=r"signed \(changed: net.onnx.data; added: more.onnx\)") as caught:
        verify_source(model, None, signer.public, ())
    assert caught.value.code == "digest-mismatch"
    assert code(lambda: verify_source(model.parent / "more.onnx", None, signer.public, ())) == "digest-mismatch"


def test_what_is_no_signature_is_refused_before_anything_is_loaded(model: Path, tmp_path: Path) -> None:
    assert verify_source(model, None, None, ()) is None
    assert code(lambda: verify_source(model, None, tmp_path / "key.pem", ())) == "not-found"
    assert code(lambda: verify_source(model, tmp_path / "none.sig", tmp_path / "key.pem", ())) == "not-found"
    wrong = tmp_path / "wrong.sig"
    for data in (
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"dsseEnvelope":{"payload":"!"},"verificationMaterial":{}}',
    ):
        wrong.write_bytes(data)
        assert code(lambda: verify_source(model, wrong, tmp_path / "key.pem", ())) == "malformed"
    statement = {
        "subject": [{"digest": {"sha256": "ab" * 32}}], "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"resources": [{"name": "."}]},
    }  # fmt: skip
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    wrong.write_text(json.dumps({"dsseEnvelope": {"payload": payload}, "verificationMaterial": {}}))
    assert code(lambda: verify_source(model, wrong, tmp_path / "key.pem", ())) == "not-signed"  # keyless


def test_without_the_library_it_is_said_what_to_install(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def lacking(name: str) -> Any:
        if name.startswith("model_signing"):
            raise ModuleNotFoundError(name, name=name)
        return real(name)

    monkeypatch.setattr(vouched.importlib, "import_module", lacking)
    with pytest.raises(EdgeliftError, match=r"\[oms\]") as caught:
        vouched._library()
    assert caught.value.code == "tool-missing"


def test_an_older_reader_passes_over_it() -> None:
    told = SourceSignature(signer="key sha256:ab", model_sha256="ab" * 32, signature_sha256="cd" * 32)
    plain = Provenance("ab" * 32, "default#0")
    assert b"signature" not in codec.canonical_json(plain)  # what was built before keeps its id
    data = codec.canonical_json(Provenance("ab" * 32, "default#0", signature=told))
    assert codec.decode_json(data, Provenance, what="provenance").signature == told
