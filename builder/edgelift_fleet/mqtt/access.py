"""Who may enter the broker: passwords, and mosquitto's password and access files.

A device's password is derived from the site's key, so nothing needs to be stored and a device that enrols again
gets the same. Patterns bound every device: it writes its own report, state and telemetry, and reads below its own
`down/`. No other topic is its own: each could be retained, and what is retained stays in the broker's memory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

from edgelift_contract import routes

#: The control plane's own user; a device id can't hold an underscore.
HOST_USER = "_host"
#: Who asks whether newcomers are let in, and may do nothing else.
PROBE_USER = "_probe"

#: mosquitto's own default. The passwords have 256 bits: there is nothing to guess, iterations add nothing.
_ITERATIONS = 101

_WRITES = "".join(f"pattern write {topic.replace('+', '%u')}\n" for topic in routes.uplink_filters())

ACL = f"""\
user {HOST_USER}
topic readwrite {routes.ROOT}/#

user {PROBE_USER}
topic deny #

{_WRITES}pattern read {routes.ROOT}/%u/down/#
"""


def password_of(key: str, user: str) -> str:
    """The password of a user under the site's broker key."""
    return base64.urlsafe_b64encode(_derive(key, "password", user)).decode().rstrip("=")


def password_line(key: str, user: str) -> str:
    """The user's line in mosquitto's password file: `user:$7$iterations$salt$PBKDF2-SHA512`."""
    # The salt is derived too: the same users give the same file, and a line is made once.
    salt = _derive(key, "salt", user)[:12]
    digest = hashlib.pbkdf2_hmac("sha512", password_of(key, user).encode(), salt, _ITERATIONS)
    return f"{user}:$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def password_file(lines: Iterable[str]) -> bytes:
    """The file of these lines."""
    return "".join(f"{line}\n" for line in lines).encode()


def _derive(key: str, purpose: str, user: str) -> bytes:
    return hmac.new(key.encode(), f"edgelift-broker/{purpose}/{user}".encode(), hashlib.sha256).digest()
