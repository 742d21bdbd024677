"""mosquitto's configuration: one text for the broker that the server starts, and for one of the user's own."""

from __future__ import annotations

from edgelift_contract.telemetry import MAX_BATCH_BYTES

#: A batch is the largest message there is.
MAX_PACKET_BYTES = MAX_BATCH_BYTES + 4096
#: What mosquitto may take of the memory, bytes: beyond, whoever publishes is turned away and sends it again later.
MEMORY_BYTES = 512 << 20
#: What it keeps for a client that is away for a moment, bytes: the server's, above all.
_QUEUED_BYTES = 64 << 20
#: Connections that it has open at most.
MAX_CONNECTIONS = 65_536

#: Its files: what it shows and its key, who may vouch for a device, whose certificates hold no more, who may do what.
CONF, CERTIFICATE, AUTHORITIES, REVOKED, ACCESS, PASSWORDS = (
    "mosquitto.conf", "tls.pem", "authorities.pem", "revoked.pem", "acl", "passwords",
)  # fmt: skip

_HEAD = """\
# Written by edgelift{when}; changes are lost.
per_listener_settings true
persistence true
persistence_location {at}memory/
autosave_interval 60
max_packet_size {packet}
memory_limit {memory}
max_queued_messages 100000
max_queued_bytes {queued}
max_inflight_messages 0
set_tcp_nodelay true
persistent_client_expiration 7d
connection_messages false
log_dest stderr
log_type error
log_type warning
log_type notice
"""

_PLAIN = """\
listener {port} {host}
use_username_as_clientid true
allow_anonymous false
password_file {at}{passwords}
acl_file {at}{access}
max_connections {connections}
"""

#: Whoever has a certificate of the site's authority: its name is the user's, and what it may do follows from that.
_SECURE = """\
listener {port} {host}
certfile {at}{certificate}
keyfile {at}{certificate}
cafile {at}{authorities}
crlfile {at}{revoked}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {at}{access}
max_connections {connections}
"""


def head(when: str, *, at: str = "", user: str = "") -> str:
    """What holds for all listeners.

    Args:
        when: it is written, for people.
        at: before the names of its files; empty where it runs in their folder.
        user: whom it is to run as; empty for its own choice.
    """
    text = _HEAD.format(when=when, at=at, packet=MAX_PACKET_BYTES, memory=MEMORY_BYTES, queued=_QUEUED_BYTES)
    return text + (f"user {user}\n" if user else "")


def by_password(host: str, port: int, connections: int) -> str:
    """A listener in the clear, for whoever has a password."""
    return _PLAIN.format(host=host, port=port, connections=connections, at="", passwords=PASSWORDS, access=ACCESS)


def by_certificate(host: str, port: int, connections: int, *, at: str = "") -> str:
    """A listener over TLS, for whoever has a certificate of the site's authority; `at` as in `head`."""
    return _SECURE.format(
        host=host, port=port, connections=connections, at=at, certificate=CERTIFICATE, authorities=AUTHORITIES,
        revoked=REVOKED, access=ACCESS,
    )  # fmt: skip
