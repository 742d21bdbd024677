"""Signing what is published: with keys that lie where this command runs, under a passphrase, and nowhere else."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift_contract.errors import ContractError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from securesystemslib.signer import CryptoSigner
    from sqlalchemy.orm import Session

    from edgelift_fleet.site import Site
    from edgelift_fleet.trust.image import Listed
    from edgelift_fleet.trust.key_files import KeyFile

KeyOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", metavar="FILE", show_default=False,
        help="A key that signs; several where that takes several [default: those in $EDGELIFT_KEYS or the site].",
    ),
]  # fmt: skip

#: Where keys are, and what opens them; a file's name is better than the passphrase itself.
KEYS, PASSPHRASE, PASSPHRASE_FILE = "EDGELIFT_KEYS", "EDGELIFT_PASSPHRASE", "EDGELIFT_PASSPHRASE_FILE"


@dataclass(frozen=True)
class Preset:
    """How many hold a key of each kind, and how many of them it takes."""

    holders: int
    threshold: int


PRESETS = {"one-person": Preset(1, 1), "2-of-3": Preset(3, 2)}


def keys_folder(site: Path | None) -> Path | None:
    """Where keys are looked for: `$EDGELIFT_KEYS`, else the site's own folder of them."""
    if named := os.environ.get(KEYS):
        return Path(named)
    return site / "keys" if site is not None else None


def site_folder(site: Path | None) -> Path | None:
    """The site's folder, where it is on this machine."""
    from edgelift.reach import told
    from edgelift_fleet.site import SITE_FILE, default_folder

    folder = told(site).site or default_folder()
    return folder if (folder / SITE_FILE).exists() else None


def begin(
    site: Site, preset: Preset, said: str, listing: Callable[[Session], Iterable[Listed]] = lambda _: ()
) -> list[Path]:
    """Make a site's keys under this passphrase, or take those that are there, and have it sign from now on; in the same
    step what is published is listed, as `listing` reads it.

    Returns:
        The keys' files.

    Raises:
        DeviceError, ContractError: as `create_key_file` and `unseal`.
    """
    from edgelift.common import open_database
    from edgelift_contract.signed import IMAGE
    from edgelift_fleet.db import SITE
    from edgelift_fleet.trust.anchoring import remember
    from edgelift_fleet.trust.beginning import begin_trust
    from edgelift_fleet.trust.image import Holders
    from edgelift_fleet.trust.key_files import create_key_file, read_key_file
    from edgelift_fleet.trust.online import create_online_key, online_signer
    from edgelift_fleet.trust.store import newest

    folder = keys_folder(site.folder)
    assert folder is not None
    paths, groups = [], []
    signers: list[CryptoSigner] = []
    for role in ("root", "builder"):
        names = [role] if preset.holders == 1 else [f"{role}-{number + 1}" for number in range(preset.holders)]
        files = []
        for name in names:
            path = folder / f"{name}.key"
            made = None if path.exists() else create_key_file(path, name, said)
            files.append(read_key_file(path))
            if len(files) <= preset.threshold:
                signers += [made] if made is not None else unsealed(files[-1:], said)
            paths.append(path)
        groups.append(files)
    create_online_key(site)
    root, builder = (Holders(tuple(file.key for file in files), preset.threshold) for files in groups)
    with open_database(site) as db, db.write(SITE) as session:
        begin_trust(session, root, builder, signers, online_signer(site), time.time(), listing(session))
        remember(newest(session, IMAGE)["root"].body, folder)
    return paths


def passphrase(what: str, *, new: bool = False) -> str:
    """The passphrase: from its file, from the environment, or typed.

    Args:
        what: what it opens, for the question.
        new: it is chosen now: typed twice.

    Raises:
        DeviceError: `bad-config` when nobody is there to type it, or its file can't be read.
        ContractError: `malformed` when what was typed twice is not the same.
    """
    if file := os.environ.get(PASSPHRASE_FILE):
        try:
            return Path(file).read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DeviceError("bad-config", f"The passphrase's file {file} cannot be read: {error}.") from error
    if said := os.environ.get(PASSPHRASE):
        return said
    if not sys.stdin.isatty():
        raise DeviceError(
            "bad-config", f"A passphrase is needed for {what}, and nobody is here to type it.",
            hint=f"Set ${PASSPHRASE_FILE} to a file that holds it, or ${PASSPHRASE}.",
        )  # fmt: skip
    import getpass

    typed = getpass.getpass(f"Passphrase {'for' if new else 'of'} {what}: ", stream=sys.stderr)
    if new and typed != getpass.getpass("Again: ", stream=sys.stderr):
        raise ContractError("malformed", "The two are not the same.", hint="Try again.")
    return typed


def new_passphrase(what: str) -> str:
    """One that is chosen now. Raises as `passphrase`, and ContractError `malformed` for one that is too short."""
    from edgelift_fleet.trust.key_files import check_passphrase

    return check_passphrase(passphrase(what, new=True))


def unsealed(files: Iterable[KeyFile], said: str = "") -> list[CryptoSigner]:
    """Their signers; a passphrase that was said is tried on each of them before another is asked for."""
    from edgelift_fleet.trust.key_files import unseal

    signers: list[CryptoSigner] = []
    for file in files:
        tried, said = said, said or passphrase(f"the key {file.name}")
        try:
            signers.append(unseal(file, said))
        except ContractError:
            if not tried:
                raise
            said = passphrase(f"the key {file.name}")
            signers.append(unseal(file, said))
    return signers
