"""A certificate for a server of a test, which vouches for itself: who is given it as an authority trusts that server."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """Files in PEM: the certificate, good for 127.0.0.1 for two days, and its key."""

    path: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """A new one. Skips the test where there is no openssl, and fails it where servers are required."""
    if shutil.which("openssl") is None:
        message = "openssl is not installed"
        if os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=edgelift", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
         "-keyout", made.key, "-out", made.path],
        check=True, capture_output=True,
    )  # fmt: skip
    return made
