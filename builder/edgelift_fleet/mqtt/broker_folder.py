"""What a mosquitto of the user's own needs, as a folder: written by `edgelift broker config`, again whenever it changes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import Line
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.identity.identities import Identities
from edgelift_fleet.mqtt import conf
from edgelift_fleet.mqtt.access import ACL

#: How long the broker's certificate holds, days: nobody renews it but who writes the folder again.
BROKER_DAYS = 365
PLAN, README = "broker.json", "README"

_README = """\
Files for a mosquitto of your own. Devices and the control plane come to it by certificates of the site's authority; each
device may write and read its own topics alone. Written on {today}; the broker's certificate holds until {until}.

Start it         mosquitto -c {at}{conf}
Its user         must be able to read all of these files, and to write {at}memory: chown -R mosquitto {at}
The server       edgelift serve --broker mqtts://{name}:{port}, on a site with tls = true
Keep secret      {certificate}: it holds the broker's key

Write the folder again (the same command; it remembers its options), bring it here, and have mosquitto read it by SIGHUP
  - after edgelift device remove or replace: {revoked} names what holds no more
  - after edgelift authority rotate and finish; then stop and start it: whom it trusts it reads only once
  - before {until}
"""


_MAX_PLAN_BYTES = 64 * 1024


class BrokerPlan(msgspec.Struct, frozen=True):
    """How the broker is reached.

    Attributes:
        names: host names and addresses, which its certificate names; the first is how the control plane calls it.
        host: address that it listens on.
        port: that it listens on.
        at: where the folder lies on the broker's machine; empty for where it is written.
    """

    names: list[Line]
    host: Line = "0.0.0.0"  # noqa: S104 - a broker is for the network
    port: Annotated[int, Meta(ge=1, le=65535)] = 8883
    at: Line = ""


def kept_plan(folder: Path) -> BrokerPlan | None:
    """What the folder was written by before; None for a new one. Raises EdgeliftError for a file that can't be read."""
    path = folder / PLAN
    with disk_errors(f"the file {path}"):
        if not path.exists():
            if folder.exists() and any(folder.iterdir()):
                raise ContractError(
                    "conflict", f"{folder} is not empty and is no broker's.", hint="Name a new folder."
                )
            return None
        with path.open("rb") as file:
            data = file.read(_MAX_PLAN_BYTES + 1)
    try:
        return codec.decode_json(data, BrokerPlan, what=f"file {path}", limit_bytes=_MAX_PLAN_BYTES)
    except ContractError as error:
        raise DeviceError(
            "bad-config", error.message, hint=f"Remove {path} and name the options again."
        ) from error


def write_folder(folder: Path, identities: Identities, plan: BrokerPlan) -> float:
    """Write all files; returns until when the broker's certificate holds, seconds since 1970.

    Raises:
        ContractError: `malformed` for what can't stand in a configuration.
        EdgeliftError: the database's, the disk's, `bad-config` for the authority.
    """
    folder = folder.absolute()
    at = (plan.at or str(folder)).rstrip("/") + "/"
    for word in (at, plan.host, *plan.names):
        if not word or any(not char.isprintable() or char.isspace() for char in word):
            raise ContractError("malformed", f"{word!r} can't stand in a mosquitto's configuration.")
    made, key = identities.shown.issue_own(plan.names[0], plan.names, time.time(), days=BROKER_DAYS)
    text = conf.head(", by edgelift broker config", at=at)
    text += conf.by_certificate(plan.host, plan.port, conf.MAX_CONNECTIONS, at=at)
    readme = _README.format(
        at=at, name=plan.names[0], port=plan.port, conf=conf.CONF, certificate=conf.CERTIFICATE, revoked=conf.REVOKED,
        authorities=conf.AUTHORITIES, today=_day(time.time()), until=_day(made.not_after),
    )  # fmt: skip
    files = {
        conf.CERTIFICATE: made.pem.encode() + key,
        conf.AUTHORITIES: identities.certificates().encode(),
        conf.REVOKED: identities.revocations(),
        conf.ACCESS: ACL.encode(),
        conf.CONF: text.encode(),
        README: readme.encode(),
        PLAN: codec.canonical_json(plan),  # last: with it the folder is whole
    }
    with disk_errors(f"the folder {folder}"):
        (folder / "memory").mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name, data in files.items():
            write_atomically(folder / name, data, mode=0o600)
    return made.not_after


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))
