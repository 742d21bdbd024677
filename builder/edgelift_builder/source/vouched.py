"""A source that came with an OpenSSF Model Signing signature: verified before anything is made of it.

The library `model-signing` does it (extra [oms]): the bundle's signature by a key or a certificate that the user names, and
the digest of every file that it lists. Nothing is asked over a network: keyless signatures, whose certificates lived for
minutes, need Sigstore's log and are refused here with a sentence that says so.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edgelift_builder.exceptions import in_short
from edgelift_contract import codec
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.manifest import SourceSignature

#: What a signature is called that lies beside its model.
BESIDE = "model.sig"
#: Of a signature, bytes: it lists each of the model's files.
MAX_SIGNATURE_BYTES = 16 << 20
_PREDICATE = "https://model_signing/signature/v1.0"


class _Envelope(msgspec.Struct):
    payload: str


class _RawBytes(msgspec.Struct):
    raw_bytes: str = msgspec.field(name="rawBytes", default="")


class _Chain(msgspec.Struct):
    certificates: list[_RawBytes] = []


class _Material(msgspec.Struct):
    public_key: dict[str, str] | None = msgspec.field(name="publicKey", default=None)
    chain: _Chain | None = msgspec.field(name="x509CertificateChain", default=None)


class _Bundle(msgspec.Struct):
    envelope: _Envelope = msgspec.field(name="dsseEnvelope")
    material: _Material = msgspec.field(name="verificationMaterial")


class _Subject(msgspec.Struct):
    digest: dict[str, str]


class _Resource(msgspec.Struct):
    name: str


class _Predicate(msgspec.Struct):
    resources: list[_Resource]


class _Statement(msgspec.Struct):
    subject: Annotated[list[_Subject], Meta(min_length=1, max_length=1)]
    kind: str = msgspec.field(name="predicateType")
    predicate: _Predicate


def verify_source(
    source: Path, signature: Path | None, key: Path | None, chain: Sequence[Path]
) -> SourceSignature | None:
    """Verify the signature that a source came with.

    Args:
        source: the model's file, or the file of the function that makes it.
        signature: its signature; None for `model.sig` beside it, if there is one.
        key: the signer's public key, PEM.
        chain: instead of it the certificates from the signer's CA up to its root, PEM.

    Returns:
        What a manifest says of it; None for a source without a signature.

    Raises:
        ContractError: `not-found`, `too-large`, `malformed`; `not-signed` when the signature is not the signer's;
            `digest-mismatch` when files are others than were signed.
        DeviceError: `tool-missing`.
    """
    if signature is None:
        signature = source.parent / BESIDE
        if not signature.exists():
            if key or chain:
                raise ContractError(
                    "not-found", f"A signer is named, but {source.name} has no signature beside it.",
                    hint="Name it: --signature FILE.",
                )  # fmt: skip
            return None
    if bool(key) == bool(chain):
        raise ContractError(
            "malformed", f"{source.name} comes with the signature {signature.name}, and its one signer is not named.",
            hint="Name it: --signer-key PUBLIC.pem, or --signer-cert CA.pem; or move the signature away.",
        )  # fmt: skip
    data = _read(signature)
    bundle, statement = _parsed(signature, data)
    single = [one.name for one in statement.predicate.resources] == ["."]
    _verify(source if single else source.parent, signature, key, chain)
    if not single and source.name not in {one.name for one in statement.predicate.resources}:
        raise ContractError("digest-mismatch", f"The signature {signature.name} does not list {source.name}.")
    return SourceSignature(
        signer=_key_id(key) if key else _certificate(bundle),
        model_sha256=statement.subject[0].digest.get("sha256", ""),
        signature_sha256=codec.digest(data),
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIGNATURE_BYTES + 1)
    except OSError as error:
        raise ContractError("not-found", f"{path} can't be read: {error.strerror}.") from error
    if len(data) > MAX_SIGNATURE_BYTES:
        raise ContractError("too-large", f"{path} has more than {MAX_SIGNATURE_BYTES} bytes.")
    return data


def _parsed(path: Path, data: bytes) -> tuple[_Bundle, _Statement]:
    try:
        bundle = msgspec.json.decode(data, type=_Bundle)
        payload = base64.b64decode(bundle.envelope.payload, validate=True)
        statement = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(
            "malformed", f"{path.name} is no signature of a model: {in_short(str(error))}."
        ) from error
    if statement.kind != _PREDICATE:
        raise ContractError(
            "malformed", f"{path.name} signs something else than a model: {statement.kind[:80]!r}."
        )
    if bundle.material.public_key is None and bundle.material.chain is None:
        raise ContractError(
            "not-signed", f"{path.name} is a keyless signature, which can't be verified without a network.",
            hint="Verify it with: model_signing verify sigstore; then sign it with a key.",
        )  # fmt: skip
    return bundle, statement


def _verify(model: Path, signature: Path, key: Path | None, chain: Sequence[Path]) -> None:
    config = _library().verifying.Config()
    try:
        if key is not None:
            config.use_elliptic_key_verifier(public_key=key)
        else:
            config.use_certificate_verifier(certificate_chain=list(chain))
    except (OSError, ValueError, TypeError) as error:
        raise ContractError(
            "malformed", f"{(key or chain[0]).name} is no key or certificate of a signer: {in_short(str(error))}."
        ) from error
    try:
        config.verify(model, signature)
    except Exception as error:  # whatever the library raises, the signature did not hold
        text = str(error) or type(error).__name__
        if text.startswith("Signature mismatch"):
            raise ContractError(
                "digest-mismatch", f"{model.name} is not what was signed{_differing(text)}.",
                hint="Get it again from whoever signed it.",
            ) from error  # fmt: skip
        raise ContractError(
            "not-signed", f"The signature {signature.name} is not of the signer that was named: {text[:500]}.",
            hint="Ask whoever signed it for the right key.",
        ) from error  # fmt: skip


def _differing(text: str) -> str:
    """Which files differ, as far as the library's words say it: its digests are for nobody."""
    kinds = {
        "changed": r"Hash mismatch for .*?'(.*?)\\?'",
        "added": r"Extra files found in model .*?': (.*?)[\"'\]]",
        "missing": r"Missing files in model .*?': (.*?)[\"'\]]",
    }
    found = {kind: ", ".join(re.findall(pattern, text)) for kind, pattern in kinds.items()}
    said = "; ".join(f"{kind}: {names[:300]}" for kind, names in found.items() if names.strip(". "))
    return f" ({said})" if said else ""


def _library() -> Any:
    try:
        importlib.import_module("model_signing.verifying")
        return importlib.import_module("model_signing")
    except ModuleNotFoundError as error:
        raise DeviceError(
            "tool-missing",
            f"The source comes with a signature; to verify it needs model-signing, and {error.name} is not installed.",
            hint="Install edgelift with the extra [oms].",
        ) from error


def _key_id(key: Path) -> str:
    """As signatures name it: SHA-256 of the public key's PEM."""
    from cryptography.hazmat.primitives import serialization

    public = serialization.load_pem_public_key(key.read_bytes())
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"key sha256:{hashlib.sha256(pem).hexdigest()}"


def _certificate(bundle: _Bundle) -> str:
    """Whom the signing certificate names, and its fingerprint."""
    from cryptography import x509

    raw = base64.b64decode(bundle.material.chain.certificates[0].raw_bytes) if bundle.material.chain else b""
    subject = x509.load_der_x509_certificate(raw).subject.rfc4514_string()
    return f"certificate sha256:{hashlib.sha256(raw).hexdigest()} {subject}"[:256]
