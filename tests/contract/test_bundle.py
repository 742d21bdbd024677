"""A bundle has one form; everything else is refused before anybody unpacks it."""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_contract.bundle import (
    ABOUT,
    MAX_BUNDLE_BYTES,
    MAX_FILES,
    MAX_UNPACKED_BYTES,
    BundleAbout,
    pack,
    unpack,
)
from edgelift_contract.errors import ContractError

ID = "0123456789abcdef" * 2
MINE = BundleAbout(schema=1, device="pi-1", bundle=ID, made_at=1_800_000_000.0, agent_version="0.1.0")
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True).filter(lambda name: name != ABOUT)


def read(data: bytes) -> dict[str, bytes]:
    return unpack(data, device="pi-1", bundle=ID)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=MAX_FILES - 1), st.floats(0, 8e9))
def test_what_is_packed_is_unpacked_alike_and_any_tar_program_reads_it(files: dict[str, bytes], at: float) -> None:
    about = BundleAbout(schema=1, device="pi-1", bundle=ID, made_at=at)
    data = pack(about, files)
    assert {name: body for name, body in read(data).items() if name != ABOUT} == files
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == [ABOUT, *files]
        assert all(member.isreg() and not member.pax_headers and member.mtime == int(at) for member in members)
        assert [tar.extractfile(member).read() for member in members[1:]] == list(files.values())


def made_by_tarfile(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A bundle's about.json, then these members, by Python's own tar."""
    about = read(pack(MINE, {}))[ABOUT]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        first = tarfile.TarInfo(ABOUT)
        for info, data in ((first, about), *members):
            info.size, info.mtime, info.mode = len(data), 1_800_000_000, info.mode if info is not first else 0o600
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, one in fields.items():
        setattr(info, field, one)
    return info


PACKED = gzip.compress
FORGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "malformed"),
    "no gzip": (lambda: b"x" * 100, "malformed"),
    "another board's": (lambda: pack(BundleAbout(schema=1, device="pi-2", bundle=ID, made_at=1.0), {}), "wrong-device"),
    "another wish's": (
        lambda: pack(BundleAbout(schema=1, device="pi-1", bundle="f" * 32, made_at=1.0), {}), "wrong-device",
    ),
    "a newer schema": (lambda: pack(BundleAbout(schema=2, device="pi-1", bundle=ID, made_at=1.0), {}), "unknown-schema"),
    "too long": (lambda: b"\x1f\x8b\x08\0" + bytes(MAX_BUNDLE_BYTES), "too-large"),
    "a bomb": (lambda: zipped(bytes(MAX_UNPACKED_BYTES + 1)), "too-large"),
    "cut short": (lambda: pack(MINE, {"a": b"x" * 5000})[:-9], "malformed"),
    "followed by more": (lambda: pack(MINE, {}) + b"more", "malformed"),
    "two in one": (lambda: pack(MINE, {}) + pack(MINE, {}), "malformed"),
    "a name in the gzip's head": (lambda: named(), "malformed"),
    "a path upwards": (lambda: PACKED(made_by_tarfile((member("../../etc/cron.d/x"), b"x"))), "bad-path"),
    "a path from the root": (lambda: PACKED(made_by_tarfile((member("/etc/passwd"), b"x"))), "bad-path"),
    "a folder's file": (lambda: PACKED(made_by_tarfile((member("a/b"), b"x"))), "bad-path"),
    "an option": (lambda: PACKED(made_by_tarfile((member("-rf"), b"x"))), "bad-path"),
    "a hidden file": (lambda: PACKED(made_by_tarfile((member(".bashrc"), b"x"))), "bad-path"),
    "a capital": (lambda: PACKED(made_by_tarfile((member("README"), b"x"))), "bad-path"),
    "no ASCII": (lambda: PACKED(made_by_tarfile((member("ä"), b"x"))), "bad-path"),
    "a link": (
        lambda: PACKED(made_by_tarfile((member("a", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""))), "malformed",
    ),
    "a hard link": (
        lambda: PACKED(made_by_tarfile((member("a", type=tarfile.LNKTYPE, linkname="about.json"), b""))), "malformed",
    ),
    "a device": (lambda: PACKED(made_by_tarfile((member("a", type=tarfile.CHRTYPE, devmajor=1), b""))), "malformed"),
    "a folder": (lambda: PACKED(made_by_tarfile((member("a", type=tarfile.DIRTYPE), b""))), "bad-path"),
    "one who may run it": (lambda: PACKED(made_by_tarfile((member("a", mode=0o4755), b"x"))), "malformed"),
    "an owner": (lambda: PACKED(made_by_tarfile((member("a", mode=0o600, uid=7, uname="root"), b"x"))), "malformed"),
    "a long path in two parts": (
        lambda: PACKED(made_by_tarfile((member("d" * 90 + "/" + "n" * 60, mode=0o600), b"x"))), "malformed",
    ),
    "headers beside the head": (
        lambda: PACKED(made_by_tarfile((member("a" * 300, mode=0o600), b"x"), form=tarfile.PAX_FORMAT)), "bad-path",
    ),
    "a name twice": (
        lambda: PACKED(made_by_tarfile((member("a", mode=0o600), b"x"), (member("a", mode=0o600), b"y"))), "malformed",
    ),
    "too many": (
        lambda: PACKED(made_by_tarfile(*((member(f"f{n}", mode=0o600), b"") for n in range(MAX_FILES)))), "malformed",
    ),
    "something behind its end": (lambda: zipped(plain() + b"x" * 512), "malformed"),
    "a file that ends too early": (lambda: zipped(plain()[:1100]), "malformed"),
    "a wrong sum": (lambda: zipped(plain().replace(b"0000600\0", b"0000601\0", 1)), "malformed"),
    "about.json second": (lambda: zipped(swapped()), "malformed"),
}  # fmt: skip


def zipped(tar: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return compressor.compress(tar) + compressor.flush()


def named() -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile("../evil", "wb", fileobj=buffer) as file:
        file.write(plain())
    return buffer.getvalue()


def plain() -> bytes:
    return zlib.decompress(pack(MINE, {"a": b"x" * 600}), 31)


def swapped() -> bytes:
    tar = plain()
    size = 512 + 512  # about.json is shorter than a block
    return tar[size : size + 512 + 1024] + tar[:size] + bytes(1024)


@pytest.mark.parametrize("name", FORGED)
def test_anything_else_is_refused(name: str) -> None:
    make, code = FORGED[name]
    with pytest.raises(ContractError) as caught:
        read(make())
    assert caught.value.code == code


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_damage_gets_through_and_none_is_a_fault(data: st.DataObject) -> None:
    tar = bytearray(plain())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(tar) - 1))
        tar[at] ^= data.draw(st.integers(1, 255))
    try:
        files = read(zipped(bytes(tar)))
    except ContractError as error:
        assert error.code in {"malformed", "bad-path", "too-large", "wrong-device", "unknown-schema"}
    else:
        assert all(re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name) for name in files)


def test_what_the_host_would_refuse_is_not_packed() -> None:
    for files, code in (
        ({"../x": b""}, "bad-path"),
        ({f"f{n}": b"" for n in range(MAX_FILES)}, "too-large"),
        ({"a": bytes(MAX_UNPACKED_BYTES)}, "too-large"),
    ):
        with pytest.raises(ContractError) as caught:
            pack(MINE, files)
        assert caught.value.code == code
