"""A device is enrolled: it makes its key, and gets a certificate by the token that an operator made.

Whom to trust stands in the token: the digest of the site's authority. So the first contact needs no right clock, no name
and nobody in between; what answers under another authority is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import ssl
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import msgspec
import urllib3

from edgelift_agent.config import Config, load_config
from edgelift_agent.identity.identity import DeviceIdentity, Way
from edgelift_agent.identity.kept import IdentityFiles
from edgelift_agent.link.bounded import Watch, read_body
from edgelift_agent.link.causes import failed_connection
from edgelift_agent.link.http import HttpTransport
from edgelift_agent.link.session import FAULTS, HttpSession
from edgelift_agent.parts.this_machine import ThisMachine
from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_contract import __version__, codec
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError, DeviceError, TransportError
from edgelift_contract.fitting import fit
from edgelift_contract.identity import AUTHORITY, Authorities, EnrolToken, parse_token
from edgelift_contract.ids import check_device_id

_ONE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
_MAX_BYTES = 64 * 1024
_TIMEOUT_S = 20.0


def enroll(path: Path, text: str, device: str, *, again: bool) -> str:
    """Enrol this device.

    Args:
        path: of its configuration; made where there is none.
        text: the token.
        device: its id, where there is no configuration; empty for the machine's name.
        again: also when it is enrolled already: under another key, as after `edgelift device replace`.

    Returns:
        What was done, for people.

    Raises:
        ContractError: `malformed` and the like for the token, `conflict` when the device is enrolled already.
        TransportError: `tls-failed` for another authority than the token's, `token-spent`, `already-enrolled`, the link's.
        DeviceError: what the disk refuses, `bad-config`.
    """
    token = parse_token(text)
    if not token.url.startswith("https://"):
        raise ContractError(
            "malformed", f"The token's control plane {token.url} speaks no TLS: nothing is asked there."
        )
    config, made = _configured(path, token, device)
    kept, degraded = IdentityFiles(Path(config.state_dir), Disk()), Degraded(SystemClock())
    if kept.stamp() is not None and not again:
        raise ContractError(
            "conflict", f"{config.device} is enrolled already.",
            hint="To enrol it under a new key: edgelift device replace on the host, then enroll --again here.",
        )  # fmt: skip
    identity = DeviceIdentity(kept, degraded, config.device, "", lambda: 0.0)
    identity.want()
    machine = ThisMachine(Path(config.state_dir), degraded, None, None)
    request = EnrolRequest(
        schema=EnrolRequest.SCHEMA, device=config.device, facts=machine.facts(), tags=config.tags,
        agent_version=__version__, csr=identity.request(),
    )  # fmt: skip
    way = Way(token.url.rstrip("/"), DeviceIdentity.context(_authority(token)), identity.vet, 1, token.secret)
    http = HttpTransport(token.url, "", config.device, timeout_s=_TIMEOUT_S, way=lambda: way)
    reply = http.enrol(fit(request))
    if reply.identity is None:
        raise ContractError("not-found", f"{token.url} gave no certificate.", hint="Is it of this release?")
    if (found := identity.take(reply.identity, token.url)) is not None:
        http.enrol_by(found, msgspec.structs.replace(fit(request), csr=""))
    identity.settle()
    begun = f" {path} was made." if made else ""
    return f"{config.device} is enrolled at {token.url}.{begun} Next: edgelift-agent run"


def _configured(path: Path, token: EnrolToken, device: str) -> tuple[Config, bool]:
    if path.exists():
        config = load_config(path)
        if device and device != config.device:
            raise ContractError("conflict", f"{path} says that this is {config.device}, not {device}.")
        return config, False
    name = check_device_id(device or re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:64])
    text = f"device = {json.dumps(name)}\n\n[host]\nurl = {json.dumps(token.url)}\n"
    disk = Disk()
    disk.make_folder(path.absolute().parent)
    disk.write_file(path, text.encode())
    return load_config(path), True


def _authority(token: EnrolToken) -> str:
    """The certificate that the token pins, asked for where nobody is trusted yet.

    Raises:
        TransportError: `tls-failed` when the control plane has another; the link's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    watch = Watch()
    # That nobody vouches for who answers is the point of it.
    warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
    url = token.url.rstrip("/") + AUTHORITY
    try:
        with (
            watch.over(2 * _TIMEOUT_S),
            HttpSession(watch, context) as session,
            session.ask("GET", url, timeout=urllib3.Timeout(connect=_TIMEOUT_S, read=_TIMEOUT_S)) as answer,
        ):
            body = read_body(answer, _MAX_BYTES, what=f"The answer of {url}")
    except FAULTS as error:
        raise failed_connection(error, token.url) from error
    if found := pinned(body, token.pin):
        return found
    raise TransportError(
        "tls-failed", f"Who answers at {token.url} is not the site that made this token.",
        hint="Look at the address in the way, and whether the token is of this site.",
    )  # fmt: skip


def pinned(body: bytes, pin: str) -> str:
    """The certificate of this digest in an answer to `GET /v1/authority`; empty where it isn't there."""
    try:
        text = codec.decode_json(body, Authorities, what="authorities", limit_bytes=_MAX_BYTES).certificates
    except ContractError:
        return ""
    for one in _ONE.findall(text):
        with suppress(ValueError):
            if hashlib.sha256(ssl.PEM_cert_to_DER_cert(one)).hexdigest() == pin:
                return str(one)
    return ""


def read_token(file: Path | None) -> str:
    """The token: from a file, `-` for standard input, from the environment, or typed: never from the command line, where
    everybody on the machine can read it.

    Raises:
        DeviceError: `bad-config`.
    """
    if file is None and (said := os.environ.get("EDGELIFT_ENROL_TOKEN")):
        return said
    try:
        if file is not None and str(file) != "-":
            return file.read_text()
        if file is None and sys.stdin.isatty():
            import getpass

            return getpass.getpass("Token (from: edgelift token create): ", stream=sys.stderr)
        return sys.stdin.read(_MAX_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError("bad-config", f"The token can't be read: {error}.") from error
