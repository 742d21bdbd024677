"""Which broker a site uses: a mosquitto of our own, one that is there already, or none."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import sqlalchemy as sa

from edgelift_contract.enrol import BrokerAccess
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.identity.tls import ServerTls
from edgelift_fleet.mqtt.access import HOST_USER, PROBE_USER, password_of
from edgelift_fleet.mqtt.clients import BrokerAddress
from edgelift_fleet.mqtt.connection import BrokerConnection
from edgelift_fleet.mqtt.foreign import ForeignBroker
from edgelift_fleet.mqtt.mosquitto import Broker, ByCertificate, find_mosquitto
from edgelift_fleet.mqtt.sharing import Sharing
from edgelift_fleet.tables import DeviceRow

log = logging.getLogger(__name__)

_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
#: How long a mosquitto of our own may take to let us in, seconds: it answers at once, but on a busy machine.
_LOGIN_S = 30.0
NO_MOSQUITTO = "none (mosquitto is not installed: HTTP long poll carries everything)"
NO_BROKER = "none (HTTP long poll carries everything)"


@contextmanager
def messaging(fleet: Fleet, choice: str, *, host: str, port: int, tls: ServerTls | None = None) -> Iterator[str]:
    """MQTT for as long as the block runs; gives the broker in words.

    Args:
        fleet: whose messages.
        choice: `auto` starts mosquitto where it is installed; `none`; or `mqtt://[user:password@]host[:port]`.
        host: address for a broker of our own to listen on.
        port: for a broker of our own; 0 takes a free one.
        tls: the server's certificate; None where no TLS is spoken.

    Raises:
        ContractError: `malformed` for another choice.
        DeviceError: `port-in-use`, `internal` when mosquitto does not start.
    """
    if choice == "none":
        yield NO_BROKER
    elif choice == "auto":
        program = find_mosquitto()
        if program is None:
            yield NO_MOSQUITTO
            return
        with _own_broker(fleet, program, host, port, tls) as broker:
            yield f"mosquitto on {broker.host}:{broker.tls_port if fleet.secure else broker.port}"
    else:
        address = parse_broker(choice)
        with _certified(fleet, address, tls) if _by_certificate(fleet, address) else _other_broker(fleet, address):
            yield f"{address.host}:{address.port}"


def parse_broker(text: str) -> BrokerAddress:
    """Read `mqtt://[user:password@]host[:port]`. `mqtts` is over TLS, with `?ca=FILE` for an authority of your own.

    Raises:
        ContractError: `malformed`.
    """
    try:
        parts = urlsplit(text)
        port = parts.port or {"mqtt": 1883, "mqtts": 8883}.get(parts.scheme, 0)
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        parts, port, options = urlsplit(""), 0, {}
    tls = parts.scheme == "mqtts"
    if (
        not port
        or not parts.hostname
        or parts.path not in ("", "/")
        or options.keys() - ({"ca"} if tls else set())
    ):
        raise ContractError(
            "malformed",
            f"{_shown(text)!r} names no broker.",
            hint="Write auto, none or mqtt://user:password@host:port.",
        )
    ca = options.get("ca", [""])[-1]
    if ca and not _is_file(ca):
        raise DeviceError("bad-config", f"There is no file {ca} with the broker's certificates.")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return BrokerAddress(parts.hostname, port, user, password, tls, ca)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _shown(text: str) -> str:
    """What was given for a broker, without a password that may stand in it."""
    return re.sub(r"(//[^:/@]*):.*@", r"\1:***@", text)


@contextmanager
def _own_broker(fleet: Fleet, program: str, host: str, port: int, tls: ServerTls | None) -> Iterator[Broker]:
    with fleet.db.read() as session:
        known = [] if fleet.secure else list(session.scalars(sa.select(DeviceRow.id)))
    key = fleet.site.secret("broker-key")
    folder = fleet.site.run / "broker"
    secured = ByCertificate(fleet.identities, tls.file, fleet.secure) if tls is not None else None

    def access(device: str, reached_by: str, *, certified: bool = False) -> BrokerAccess | None:
        name = (reached_by or "127.0.0.1") if host in _WILDCARDS else host
        if certified:
            return BrokerAccess(name, broker.tls_port, device, tls=True) if secured is not None else None
        if fleet.secure:
            return None
        broker.admit(device)
        return BrokerAccess(name, broker.port, device, broker.password(device))

    with Broker(program, folder, host=host, port=port, key=key, users=known, secured=secured) as broker:
        if tls is not None:
            tls.subscribe(broker.renewed)
        near = "127.0.0.1" if host in _WILDCARDS or fleet.secure else host
        address = BrokerAddress(near, broker.port, HOST_USER, broker.password(HOST_USER))
        probe = replace(address, username=PROBE_USER, password=broker.password(PROBE_USER))
        with BrokerConnection(fleet, address, on_flood=broker.shut_out, probe=probe) as connection:
            _offer(fleet, connection)
            if not connection.connected.wait(_LOGIN_S):
                raise DeviceError("internal", "The server could not log in to the mosquitto that it started.")
            fleet.broker_access = access
            yield broker


@contextmanager
def _other_broker(fleet: Fleet, address: BrokerAddress) -> Iterator[None]:
    key = fleet.site.secret("broker-key")

    def access(device: str, _reached_by: str, *, certified: bool = False) -> BrokerAccess | None:
        if certified:  # that broker knows it by its name in the certificate
            return BrokerAccess(address.host, address.port, device, tls=True) if address.tls else None
        # Whoever keeps that broker lets devices in: by their id and this password, or everyone.
        if not address.username:
            return BrokerAccess(address.host, address.port, tls=address.tls)
        return BrokerAccess(address.host, address.port, device, password_of(key, device), address.tls)

    shared = fleet.db.shared
    with (
        BrokerConnection(fleet, address, shared=shared) as connection,
        Sharing(fleet, address) if shared else nullcontext(),
    ):
        _offer(fleet, connection)
        if fleet.lead.leads and not connection.connected.wait(5):
            _not_reached(address)
        fleet.broker_access = access
        yield


def _by_certificate(fleet: Fleet, address: BrokerAddress) -> bool:
    """Whoever names neither a user nor who vouches for the broker means one that the site's authority vouches for."""
    return fleet.secure and address.tls and not address.username and not address.ca


@contextmanager
def _certified(fleet: Fleet, address: BrokerAddress, tls: ServerTls | None) -> Iterator[None]:
    """A broker of the user's own that knows everybody by certificates of the site's authority."""

    def access(device: str, _reached_by: str, *, certified: bool = False) -> BrokerAccess | None:
        return BrokerAccess(address.host, address.port, device, tls=True) if certified else None

    with ForeignBroker(fleet.identities, fleet.site.run, address) as broker:
        if tls is not None:
            tls.subscribe(broker.renewed)
        # Telemetry is not shared: all servers of a site have one name in their certificates.
        with BrokerConnection(fleet, broker.address, probe=broker.probe, admits=broker.admits) as connection:
            _offer(fleet, connection)
            if fleet.lead.leads and not connection.connected.wait(5):
                _not_reached(address)
            fleet.broker_access = access
            yield


def _not_reached(address: BrokerAddress) -> None:
    log.warning("the broker %s:%d is not reached yet; HTTP carries everything", address.host, address.port)


def _offer(fleet: Fleet, connection: BrokerConnection) -> None:
    fleet.broker_state = lambda: connection.state
