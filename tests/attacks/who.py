"""A real control plane whose devices have certificates, and what speaks to it: honest boards, and whoever is none.

Boards here are a key, a certificate and an address of their own, spoken for by Python's `ssl` and paho alone: what an
attacker sends is no agent's. The server is one for all these attacks; what the host has on record of a device is compared
before and after each.
"""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import sqlalchemy as sa
from paho.mqtt.enums import CallbackAPIVersion
from tests.fleet.conftest import Server
from tests.fleet.identity.sites import make_token, operator, secure
from tests.waiting import LONG_S, until

from edgelift_agent.identity.keys import new_key, request_for
from edgelift_contract import codec, routes
from edgelift_contract.enrol import BrokerAccess, EnrolReply, EnrolRequest
from edgelift_contract.identity import parse_token
from edgelift_contract.replies import EPOCH_HEADER
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.db import Database
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.identity.files import authority_of
from edgelift_fleet.identity.identities import Identities
from edgelift_fleet.messages import DeviceDetail, TokenView
from edgelift_fleet.site import Site, create_site, load_site
from edgelift_fleet.tables import EnrolTokenRow, IdentityRow

#: 127.0.1.1 and on: each board calls from an address of its own.
_ADDRESSES = (f"127.0.1.{number}" for number in itertools.count(1))


@dataclass
class Caller:
    """Who calls: by which name, key, certificates (PEM, its own first) and address; a thief may mix them as he likes."""

    name: str
    key: bytes = field(default_factory=new_key)
    certificates: str = ""
    address: str = field(default_factory=lambda: next(_ADDRESSES))

    def csr(self) -> str:
        return request_for(self.name, self.key)


@dataclass(frozen=True)
class Said:
    """An answer of the control plane's."""

    status: int
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"]) if self.status >= 400 else ""


class SecureSite:
    """A server with TLS and a broker. A context."""

    def __init__(self, folder: Path) -> None:
        made, _ = create_site(folder / "site")
        secure(made.folder)
        self.folder, self.server = folder, Server(made.folder)
        self._numbers = itertools.count(1)

    def __enter__(self) -> SecureSite:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    @property
    def site(self) -> Site:
        return load_site(self.server.site)

    @property
    def authority(self) -> Authority:
        """The site's own: for certificates that it gave, and for a thief who has its key."""
        return authority_of(self.site)

    def token(self, **wanted: Any) -> str:
        return make_token(self.server, **wanted)

    def tls(self, caller: Caller | None) -> ssl.SSLContext:
        """TLS towards this server, which shows the caller's certificates."""
        context = ssl.create_default_context(cafile=str(self.server.site / "secrets" / "authority"))
        context.check_hostname = False
        if caller is not None and caller.certificates:
            file = self.folder / f"{caller.name}-{next(self._numbers)}.pem"
            file.write_bytes(caller.key + caller.certificates.encode())
            context.load_cert_chain(file)
        return context

    @contextmanager
    def connected(self, caller: Caller, *, shown: bool = True) -> Iterator[http.client.HTTPSConnection]:
        """A connection of the caller's; without his certificate where it is not `shown`."""
        port = int(self.server.url.rpartition(":")[2])
        tls = self.tls(caller if shown else None)
        made = http.client.HTTPSConnection(
            "127.0.0.1", port, context=tls, source_address=(caller.address, 0), timeout=LONG_S
        )
        try:
            yield made
        finally:
            made.close()

    def ask(
        self, caller: Caller, method: str, path: str, message: object = None, *, bearer: str = "",
        shown: bool = True, epoch: str = "",
    ) -> Said:  # fmt: skip
        """One request. Raises OSError (`ssl.SSLError`) where the connection is refused."""
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {bearer}"} if bearer else {}
        headers |= {EPOCH_HEADER: epoch} if epoch else {}
        body = None if message is None else codec.canonical_json(message)
        with self.connected(caller, shown=shown) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Said(answer.status, answer.read())

    def poll(self, caller: Caller) -> Said:
        return self.ask(caller, "GET", routes.desired_path(caller.name))

    def introduce(self, caller: Caller, *, csr: str = "", token: str = "", name: str = "") -> Said:
        """`POST /v1/enroll`: by the token, where there is one, else by the certificate. What comes is not kept."""
        asked = EnrolRequest(schema=1, device=name or caller.name, facts=DeviceFacts("arm64-neon"), csr=csr)
        secret = parse_token(token).secret if token else ""
        return self.ask(caller, "POST", routes.ENROL, asked, bearer=secret, shown=not token)

    def enrol(self, caller: Caller, token: str = "", *, csr: str = "") -> EnrolReply:
        """It is enrolled, or has its certificate renewed for the key that it has now, and shows it."""
        reply = read(self.introduce(caller, csr=csr or caller.csr(), token=token))
        assert reply.identity is not None
        caller.certificates = reply.identity.certificate
        return read(self.introduce(caller))

    def renew(self, caller: Caller) -> None:
        """It has its certificate renewed, under a new key, and is let in by that."""
        new = Caller(caller.name)
        reply = read(self.introduce(caller, csr=new.csr()))
        assert reply.identity is not None
        caller.key, caller.certificates = new.key, reply.identity.certificate
        assert self.introduce(caller).status == 200 and self.poll(caller).status == 304

    def board(self, name: str) -> Caller:
        """An honest board, enrolled."""
        made = Caller(name)
        self.enrol(made, self.token())
        assert self.poll(made).status == 304
        return made

    def ended(self, name: str) -> Caller:
        """A board whose certificate ended ten days ago, as after half a year in a store-room."""
        made = Caller(name)
        with closing(Database(self.site.database)) as db:
            then = Identities(self.site, db, lambda: time.time() - 100 * 86400)
            made.certificates = then.give(name, made.csr(), None, made.address, plain=False).certificate
        return made

    def broker(self, caller: Caller) -> BrokerAccess:
        found = read(self.introduce(caller)).broker
        assert found is not None
        return found

    def record(self, name: str) -> dict[str, Any]:
        """What the host has on record of a device, but for when it was last heard and who else wanted to be it."""
        found = operator(self.server).get(f"/v1/devices/{name}", DeviceDetail)
        told: dict[str, Any] = msgspec.to_builtins(found)
        for volatile in ("last_seen", "online", "transport", "duplicates"):
            told["device"].pop(volatile)
        for volatile in ("contested_by", "contested_at"):
            (told["identity"] or {}).pop(volatile, None)
        return told

    def detail(self, name: str) -> DeviceDetail:
        return operator(self.server).get(f"/v1/devices/{name}", DeviceDetail)

    def certificates(self, name: str) -> list[tuple[str, float]]:
        """Serials that were ever given in a device's name, and when they were taken back."""
        with closing(Database(self.site.database)) as db, db.read() as session:
            rows = sa.select(IdentityRow.serial, IdentityRow.revoked_at).filter_by(device=name)
            return [(serial, at) for serial, at in session.execute(rows.order_by(IdentityRow.number))]

    def used(self, token: str) -> int:
        """How many devices came by a token."""
        with closing(Database(self.site.database)) as db, db.read() as session:
            row = session.get(EnrolTokenRow, parse_token(token).secret.partition(".")[0])
            assert row is not None
            return row.used

    def view(self, token: str) -> TokenView:
        name = parse_token(token).secret.partition(".")[0]
        return next(one for one in operator(self.server).get("/v1/tokens", list[TokenView]) if one.id == name)

    def told(self, code: str, *words: str) -> None:
        """The host's log says it."""

        def said() -> bool:
            lines = self.server.log.read_text(errors="replace").splitlines()
            return any(f"code={code}" in line and all(word in line for word in words) for line in lines)

        until(said, f"a line in the host's log of {code}, {words}")

    @contextmanager
    def unchanged(self, *names: str) -> Iterator[None]:
        """Nothing that is on record of these changes in the block."""
        before = [(self.record(name), self.certificates(name)) for name in names]
        yield
        assert [(self.record(name), self.certificates(name)) for name in names] == before


def read(said: Said) -> EnrolReply:
    """The reply to an enrolment that was taken."""
    assert said.status == 200, said
    return codec.decode_json(said.body, EnrolReply, what="reply")


class Session:
    """A session at the broker. A context: has come to an end, or was refused, at its end."""

    def __init__(self, site: SecureSite, caller: Caller, access: BrokerAccess) -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=caller.name)
        self.client.tls_set_context(site.tls(caller))
        self._access, self._address = access, caller.address
        self._settled, self._ended, self.is_in = threading.Event(), threading.Event(), False
        self.client.on_connect, self.client.on_disconnect = self._came, self._gone

    def _came(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.is_in = not reason.is_failure
        self._settled.set()

    def _gone(self, *_: Any) -> None:
        self._ended.set()
        self._settled.set()

    def __enter__(self) -> Session:
        try:
            self.client.connect(self._access.host, self._access.port, bind_address=self._address)
            self.client.loop_start()
            assert self._settled.wait(LONG_S)
        except OSError:
            pass  # refused by TLS itself
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def says(self, topic: str, message: object) -> None:
        """Publish; returns once the broker has taken it."""
        self.client.publish(topic, codec.canonical_json(message), qos=1).wait_for_publish(LONG_S)

    def ends(self) -> None:
        """The broker ends it; paho does not come again."""
        assert self._ended.wait(LONG_S)


def enters(site: SecureSite, caller: Caller, access: BrokerAccess) -> bool:
    """Does the broker let it in?"""
    with Session(site, caller, access) as session:
        return session.is_in
