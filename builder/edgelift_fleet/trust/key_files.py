"""A signing key in a file that can be carried away: its public half readable, its private half under a passphrase.

scrypt (RFC 7914) makes the key of ChaCha20-Poly1305 (RFC 8439) from the passphrase, both by `cryptography`. Its cost is
what OWASP's password storage sheet asks of scrypt at the least (N = 2^17, r = 8, p = 1: 128 MB, a third of a second), for
a stolen file can be guessed at for ever; PKCS #8, as libraries write it, has 2,048 rounds of PBKDF2 instead.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Meta
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from edgelift_contract import codec
from edgelift_contract.bounds import Schema
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.ids import Name
from edgelift_fleet.files import disk_errors, write_atomically

#: A passphrase that can be guessed protects nothing.
LEAST_PASSPHRASE = 8

_N, _R, _P = 2**17, 8, 1
_Hex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2}){1,512}\Z")]
_MAX_FILE_BYTES = 16 * 1024


class Scrypted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cost and the salt by which a passphrase became a key; no dearer than this program would make it, twice over."""

    salt: _Hex
    n: Annotated[int, Meta(ge=2, le=2**20)] = _N
    r: Annotated[int, Meta(ge=1, le=32)] = _R
    p: Annotated[int, Meta(ge=1, le=16)] = _P


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the file holds.

    Attributes:
        name: for people, as `root-1` or `builder`.
        public: the ed25519 public key.
        scrypt, nonce, sealed: the private key, under its passphrase.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    name: Name
    scheme: Literal["ed25519"] = "ed25519"
    public: _Hex
    scrypt: Scrypted
    nonce: _Hex
    sealed: _Hex

    @property
    def key(self) -> Key:
        """The public half, as metadata names it."""
        return public_key(bytes.fromhex(self.public))


def public_key(raw: bytes) -> SSlibKey:
    """An ed25519 public key of 32 bytes, as metadata names it."""
    value = {"public": raw.hex()}
    keyid = codec.digest(codec.canonical_json({"keytype": "ed25519", "keyval": value, "scheme": "ed25519"}))
    return SSlibKey(keyid, "ed25519", "ed25519", value)


def signer_of(raw: bytes) -> CryptoSigner:
    """The signer of an ed25519 private key of 32 bytes."""
    private = Ed25519PrivateKey.from_private_bytes(raw)
    return CryptoSigner(private, public_key(private.public_key().public_bytes_raw()))


def new_private() -> bytes:
    """An ed25519 private key, 32 bytes."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def check_passphrase(passphrase: str) -> str:
    """The passphrase, if it is long enough. Raises ContractError `malformed`."""
    if len(passphrase) < LEAST_PASSPHRASE:
        raise ContractError(
            "malformed", f"The passphrase is too short: it has {len(passphrase)} characters.",
            hint=f"Take {LEAST_PASSPHRASE} or more; some words that only you would put together are best.",
        )  # fmt: skip
    return passphrase


def create_key_file(path: Path, name: str, passphrase: str, *, cost: int = _N) -> CryptoSigner:
    """Make a key and write it to `path`, for its owner alone; a file of that name is left as it is.

    Args:
        path: the new file.
        name: for people.
        passphrase: what it lies under.
        cost: of scrypt, its N; a lower one is for tests, which make many keys that protect nothing.

    Returns:
        Its signer, which need not be unsealed again.

    Raises:
        ContractError: `conflict` when the file exists, `malformed` for a passphrase that is too short.
        DeviceError: what the disk refuses.
    """
    check_passphrase(passphrase)
    if path.exists():
        raise ContractError("conflict", f"{path} exists already.", hint="Choose another name.")
    private = new_private()
    public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    stretch = Scrypted(secrets.token_hex(16), cost)
    nonce = secrets.token_bytes(12)
    sealed = ChaCha20Poly1305(_stretched(passphrase, stretch)).encrypt(nonce, private, _bound(name, public.hex()))
    made = KeyFile(
        schema=KeyFile.SCHEMA,
        name=name,
        public=public.hex(),
        scrypt=stretch,
        nonce=nonce.hex(),
        sealed=sealed.hex(),
    )
    with disk_errors(f"the key {path}"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, codec.canonical_json(made) + b"\n", mode=0o600)
    return signer_of(private)


def read_key_file(path: Path) -> KeyFile:
    """Read a key's file; its private half stays sealed.

    Raises:
        ContractError: `not-found`, `malformed`, `too-large`, `unknown-schema`.
        DeviceError: `bad-config` when others may read it, or what the disk refuses.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ContractError("not-found", f"There is no key {path}.") from None
    except OSError as error:
        raise DeviceError("bad-config", f"The key {path} cannot be read: {error.strerror}.") from error
    if stat.S_IMODE(mode) & 0o077:
        raise DeviceError(
            "bad-config", f"Others may read the key {path}: its mode is {stat.S_IMODE(mode):04o}.",
            hint=f"chmod 600 {path}",
        )  # fmt: skip
    return codec.decode_json(data, KeyFile, what=f"key {path}", limit_bytes=_MAX_FILE_BYTES)


def unseal(file: KeyFile, passphrase: str) -> CryptoSigner:
    """The signer of a key's file.

    Raises:
        ContractError: `not-authorised` for another passphrase, or a file that was altered.
    """
    stretched = _stretched(passphrase, file.scrypt)
    try:
        private = ChaCha20Poly1305(stretched).decrypt(
            bytes.fromhex(file.nonce), bytes.fromhex(file.sealed), _bound(file.name, file.public)
        )
    except (InvalidTag, ValueError) as error:
        raise ContractError(
            "not-authorised", f"The passphrase does not open the key {file.name!r}.", hint="Try again."
        ) from error
    return signer_of(private)


def _stretched(passphrase: str, cost: Scrypted) -> bytes:
    try:
        return Scrypt(salt=bytes.fromhex(cost.salt), length=32, n=cost.n, r=cost.r, p=cost.p).derive(
            passphrase.encode()
        )
    except (ValueError, MemoryError) as error:
        raise ContractError("malformed", f"The key's cost can't be met: {error}.") from error


def _bound(name: str, public: str) -> bytes:
    """What is sealed with it: neither the name nor the public half can be given to another key."""
    return codec.canonical_json({"name": name, "public": public})
