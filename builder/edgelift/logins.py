"""Where this user is logged in: `logins.json` in the user's configuration, for its owner alone.

Each login holds what a command needs to reach a control plane elsewhere: its URL, who may vouch for it, and an access
token. The one that was made last is what commands speak to where nothing else is said and no site is at hand.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from edgelift_contract.errors import ContractError, DeviceError

#: Longest file of logins that is read, bytes: one login with two authorities has 3,000.
_MOST_BYTES = 4 << 20


class Login(msgspec.Struct, frozen=True, omit_defaults=True):
    """One control plane.

    Attributes:
        url: where it is called.
        token: an access token.
        name: whose.
        role: `viewer`, `operator` or `admin`.
        authorities: who may vouch for it, PEM; empty for those that this system trusts.
        expires_at: until when the token holds; 0 where it has no end.
    """

    url: str
    token: str
    name: str = ""
    role: str = ""
    authorities: str = ""
    expires_at: float = 0.0


class _File(msgspec.Struct):
    schema: int = 1
    logins: list[Login] = []


def folder() -> Path:
    """`$XDG_CONFIG_HOME/edgelift`, else `~/.config/edgelift`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "edgelift"


def plain_url(url: str) -> str:
    """A control plane's URL in the one way in which its login is kept: scheme and host in small letters, no `/` at its end.

    Raises:
        ContractError: `malformed` for what is no URL of http or https, or holds a name, a password, a query or a fragment:
            it would be shown wherever the URL is, and a name in it takes the place of the token.
    """
    try:
        read = urlsplit(url)
        good = read.scheme in ("http", "https") and bool(read.hostname) and read.port != 0
    except ValueError:
        good = False
    if not good:
        raise ContractError("malformed", f"{url!r} is no URL.", hint="Write it as https://host:8470.")
    if "@" in read.netloc or "?" in url or "#" in url:
        raise ContractError(
            "malformed", "The URL holds more than where the control plane is: a name, a query or a fragment.",
            hint="Write it as https://host:8470, and who logs in as --name.",
        )  # fmt: skip
    return f"{read.scheme}://{read.netloc.lower()}{read.path.rstrip('/')}"


def all_logins() -> list[Login]:
    """The newest first.

    Raises:
        DeviceError: `bad-config` for what can't be read, is no regular file or too long, or that others may read.
    """
    path = folder() / "logins.json"
    try:
        return msgspec.json.decode(_read(path), type=_File).logins
    except FileNotFoundError:
        return []
    except (OSError, RuntimeError, ValueError, msgspec.MsgspecError) as error:
        raise DeviceError(
            "bad-config", f"{path} cannot be read: {error}.", hint="Remove it, and log in anew."
        ) from error


def _read(path: Path) -> bytes:
    """The file's bytes. Raises OSError, ValueError for what is no file of logins, DeviceError where others may read it."""
    # Not to wait: whoever opens a FIFO in its place would do so for ever.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError("it is no regular file")
        if mode & 0o077:
            raise DeviceError(
                "bad-config", f"{path} holds secrets, and others may read it.",
                hint=f"chmod 600 {path}; log in anew if somebody may have.",
            )  # fmt: skip
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    return data


def login_of(url: str) -> Login | None:
    """The login at `url`. Raises as `all_logins` and `plain_url`."""
    wanted = plain_url(url)
    return next((one for one in all_logins() if one.url == wanted), None)


def current_login() -> Login | None:
    """The one made last. Raises as `all_logins`."""
    return next(iter(all_logins()), None)


def keep_login(made: Login) -> Path:
    """Keep a login, in the place of an older one at the same URL; gives the file. Raises as `all_logins`, or `disk-…`."""
    with _alone():
        return _write([made, *(one for one in all_logins() if one.url != made.url)])


def forget_login(url: str) -> None:
    """Forget one. Raises as `keep_login`."""
    with _alone():
        _write([one for one in all_logins() if one.url != url])


def authority_file(login: Login) -> str:
    """A file with who may vouch for its control plane; empty for those that this system trusts. Raises the disk's."""
    from edgelift_fleet.files import disk_errors, write_atomically

    if not login.authorities:
        return ""
    data = login.authorities.encode()
    path = folder() / f"authority-{hashlib.sha256(data).hexdigest()[:16]}.pem"
    if not path.is_file():
        with disk_errors("this user's logins"):
            _make_folder()
            write_atomically(path, data, mode=0o600)
    return str(path)


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else changes the logins meanwhile: of two at once one would be forgotten, and its token hold on."""
    from edgelift_fleet.files import disk_errors

    with disk_errors("this user's logins"):
        _make_folder()
        lock = os.open(folder() / "logins.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with disk_errors("this user's logins"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(logins: list[Login]) -> Path:
    from edgelift_fleet.files import disk_errors, write_atomically

    path = folder() / "logins.json"
    with disk_errors("this user's logins"):
        _make_folder()
        write_atomically(path, msgspec.json.encode(_File(logins=logins)), mode=0o600)
        wanted = {Path(authority_file(one)).name for one in logins}
        for old in folder().glob("authority-*.pem"):
            if old.name not in wanted:
                old.unlink(missing_ok=True)
    return path


def _make_folder() -> None:
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
