"""The agent's configuration: a TOML file, typed, refused at start with the name of the field that is wrong.

Every field has a default but the device's id and where the host is. Units stand in the names.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.errors import ContractError, DeviceError, disk_code
from edgelift_contract.ids import check_device_id

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PATH = Path("/etc/edgelift/agent.toml")

_Port = Annotated[int, Meta(ge=0, le=65535)]
#: Durations; what a socket can wait for ends at 24 days, seconds.
_Positive = Annotated[float, Meta(gt=0, le=1_000_000)]
_Path = Annotated[str, Meta(pattern=r"^[^\0]*\Z")]
#: Of a command that is run.
_Word = Annotated[str, Meta(pattern=r"^[^\0]*\Z", max_length=4096)]
#: What HTTP can carry as a bearer's token.
_TOKEN = re.compile(r"[!-~]+")
_MALFORMED = "is no token: that is one line of visible ASCII characters"
#: The token's name in systemd's folder of credentials.
_CREDENTIAL = "edgelift-token"
#: More than any header may have.
_MAX_TOKEN_BYTES = 65536
#: Longest configuration that is read, bytes: a person writes some hundred lines.
_MAX_BYTES = 256 * 1024
#: What says another thing of a file that is only read.
_TOKEN_CODES = {errno.ENOENT: "not-found", errno.EACCES: "not-allowed", errno.EPERM: "not-allowed"}


class HostConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[host]`: the control plane.

    Attributes:
        url: of its HTTP API, as `http://10.0.0.2:8470`.
        token_file: file with the pre-shared token; or `token` itself.
        transport: `auto` uses MQTT where the host offers a broker; `http` never does.
        poll_interval_s: how often to ask over HTTP while MQTT is connected, in case a message was lost.
        timeout_s: after which an HTTP request is given up.
        mqtt_keepalive_s: a broker that is silent for twice as long counts as gone.
    """

    url: str
    token: str = ""
    token_file: _Path = ""
    transport: Literal["auto", "http"] = "auto"
    poll_interval_s: _Positive = 300.0
    timeout_s: _Positive = 20.0
    mqtt_keepalive_s: Annotated[int, Meta(ge=1, le=3600)] = 30


class ServeConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[serve]`: where requests are answered.

    Attributes:
        host, port: of the inference protocol; loopback unless you mean otherwise; port 0 takes a free one.
        unix_socket: also listen there; empty for no.
        admin_host, admin_port: of `/metrics`; port 0 takes a free one. Beyond loopback only with a token.
        admin_token_file: the file of the token, mode 0600, that whoever asks there must show; empty for none.
        admin_tls: is TLS spoken there, by a certificate that this device has from its site: `auto` beyond loopback,
            `device` on loopback too, `off` nowhere.
        workers: requests that run at once.
        max_pending: requests that may be under way before new ones are turned away.
        max_body_bytes: largest request; a model of known shape takes no more than its inputs can need.
        max_connections: open at once; at most a quarter of the process's descriptors.
        keep_alive_s: after which a connection without a request is closed.
        request_timeout_s: for a request to come, and one second more for each 128 KB of its body; for its answer to
            be taken.
        drain_timeout_s: at a stop, for requests under way to be answered.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: _Port = 8600
    unix_socket: _Path = ""
    admin_host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    admin_port: _Port = 8601
    admin_token_file: _Path = ""
    admin_tls: Literal["auto", "device", "off"] = "auto"
    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    max_pending: Annotated[int, Meta(ge=1)] = 64
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024 * 1024
    max_connections: Annotated[int, Meta(ge=8, le=65536)] = 256
    keep_alive_s: _Positive = 5.0
    request_timeout_s: _Positive = 10.0
    drain_timeout_s: _Positive = 5.0


class TelemetryConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[telemetry]`: windows and their way to the host.

    Attributes:
        window_s: length of a window.
        publish_interval_s: how often windows are sent; in probation each window is sent at once.
        probation_window_s: length of a window while a slot is in probation.
        outbox_limit_bytes: what may wait for the host; beyond it neighbouring windows are merged, not dropped.
    """

    window_s: _Positive = 60.0
    publish_interval_s: _Positive = 300.0
    probation_window_s: _Positive = 10.0
    outbox_limit_bytes: Annotated[int, Meta(ge=65536)] = 800_000


class UpdateConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[update]`: limits while updating.

    Attributes:
        preflight_timeout_s: after which a candidate counts as hung; time that it waited for a processor aside.
        retry_first_s, retry_cap_s: delays between tries of a failing link; what this machine can't do now (a full
            disk, no memory) is tried again from `retry_cap_s` to sixty times that.
        disk_reserve_bytes: space on the disk that is left alone.
        memory_available_bytes: memory that models may take; 0 asks the system at the time.
        check: a program of your own and its arguments, which has a say in each probation; empty for none.
        check_timeout_s: after which it counts as hung.
        check_every_s: how often it is asked while a probation lasts.
        check_wait_s: how long beyond the probation it may say *not now*.
    """

    preflight_timeout_s: _Positive = 120.0
    retry_first_s: _Positive = 1.0
    retry_cap_s: _Positive = 60.0
    disk_reserve_bytes: Annotated[int, Meta(ge=0)] = 32 * 1024 * 1024
    memory_available_bytes: Annotated[int, Meta(ge=0)] = 0
    check: Annotated[list[_Word], Meta(max_length=64)] = []
    check_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    check_every_s: Annotated[float, Meta(ge=1, le=1_000_000)] = 60.0
    check_wait_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 1800.0


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        device: this device's id: 1 to 64 of a-z, 0-9, '-'.
        state_dir: folder for models and the journal.
        tags: given to the control plane, as `{ site = "hall-2" }`.
    """

    device: str
    host: HostConfig
    state_dir: _Path = "/var/lib/edgelift"
    tags: dict[str, str] = {}
    serve: ServeConfig = msgspec.field(default_factory=ServeConfig)
    telemetry: TelemetryConfig = msgspec.field(default_factory=TelemetryConfig)
    update: UpdateConfig = msgspec.field(default_factory=UpdateConfig)


def load_config(path: Path) -> Config:
    """Read and check the configuration.

    Raises:
        DeviceError: `bad-config`, naming the file and the field.
        ContractError: `bad-id` for the device's id.
    """
    try:
        # TOML is UTF-8, whatever the locale; some editors put a mark before it.
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise DeviceError(
                "bad-config", f"{path} has more than {_MAX_BYTES} bytes.", hint="See docs/configuration.md."
            )
        text = data.removeprefix(codecs.BOM_UTF8).decode()
        config = codec.convert(tomllib.loads(text.replace("\r\n", "\n")), Config, what=f"configuration {path}")
    except ContractError as error:
        raise DeviceError("bad-config", error.message, hint=error.hint or "See docs/configuration.md.") from error
    except FileNotFoundError:
        raise DeviceError(
            "bad-config",
            f"There is no configuration file {path}.",
            hint="Name one with --config, or copy the example.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError("bad-config", f"{path} could not be read: {error}.") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits is Python's own ValueError
        raise DeviceError("bad-config", f"{path}: {error}.", hint="See docs/configuration.md.") from error
    check_device_id(config.device)
    if not _is_base_url(config.host.url):
        raise DeviceError(
            "bad-config",
            f"{path}: host.url must be http:// or https:// and a host, with a port where it isn't the usual one;"
            f" not {config.host.url!r}.",
        )
    _check_admin(config.serve, path)
    _check_own_check(config.update, path)
    scheme, mark, rest = config.host.url.partition("://")
    host = msgspec.structs.replace(config.host, url=f"{scheme.lower()}{mark}{rest}")  # HTTPS:// is the same
    return msgspec.structs.replace(config, host=host)


def _is_base_url(url: str) -> bool:
    if not url.lower().startswith(("http://", "https://")) or re.search(r"[\s?#@]", url):
        return False  # a user's name in it would take the token's place
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_admin(serve: ServeConfig, path: Path) -> None:
    if not is_loopback(serve.admin_host) and not serve.admin_token_file:
        raise DeviceError(
            "bad-config",
            f"{path}: serve.admin_host is {serve.admin_host!r}, which other machines reach, and there is no"
            " serve.admin_token_file.",
            hint="Name a file of mode 0600 that holds a token; or leave serve.admin_host out.",
        )


def _check_own_check(update: UpdateConfig, path: Path) -> None:
    program = update.check[0] if update.check else "/"
    if not program or ("/" in program and not program.startswith("/")):
        raise DeviceError(
            "bad-config",
            f"{path}: update.check must begin with a program's full path, or with a name that is looked for on the PATH;"
            f" not {program!r}.",
        )


def is_loopback(host: str) -> bool:
    """Is it an address that only this machine reaches?"""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def read_admin_token(file: str) -> str:
    """The token that whoever asks for the metrics must show, of `serve.admin_token_file`; empty where none is asked for.

    Raises:
        DeviceError: `bad-config`, also where others may read the file; or why it can't be read now.
    """
    if not file:
        return ""
    place = Path(file)
    token = _read_token_file(place)
    if place.stat().st_mode & 0o077:
        raise DeviceError("bad-config", f"Others may read the token's file {place}.", hint=f"chmod 600 {place}")
    return token


def check_token(config: Config) -> None:
    """Is a token given at all, and is the one that stands in the configuration itself one? Reads no file.

    Raises:
        DeviceError: `bad-config`.
    """
    if config.host.token and not _TOKEN.fullmatch(config.host.token):
        raise DeviceError("bad-config", f"host.token {_MALFORMED}.")
    if not config.host.token and not _token_places(config):
        raise DeviceError(
            "bad-config", "This device is not enrolled: it has no certificate, and neither host.token nor host.token_file.",
            hint="Enrol it: edgelift token create on the host, edgelift-agent enroll here.",
        )  # fmt: skip


def read_token(config: Config) -> str:
    """The pre-shared token, from the configuration, its file, or systemd's credentials folder.

    Raises:
        DeviceError: `bad-config`, or why no file that should hold it does now; of several, the first one's.
    """
    check_token(config)
    if config.host.token:
        return config.host.token
    troubles = []
    for place in _token_places(config):
        try:
            return _read_token_file(place)
        except DeviceError as error:
            if place.name == _CREDENTIAL:
                error.hint = (
                    "systemd made this copy at the start: mend the file it is made from, then restart the unit."
                )
            troubles.append(error)
    raise troubles[0]


def _token_places(config: Config) -> list[Path]:
    places = [Path(config.host.token_file)] if config.host.token_file else []
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return [*places, Path(credentials) / _CREDENTIAL] if credentials else places


def _read_token_file(place: Path) -> str:
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must hold nobody up
        try:
            data = os.read(descriptor, _MAX_TOKEN_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        code = _TOKEN_CODES.get(error.errno or 0) or disk_code(error.errno)
        raise DeviceError(code, f"The token's file {place} can't be read: {error.strerror}.") from error
    token = data.decode("ascii", "replace").strip()
    if not token:
        raise DeviceError("bad-config", f"The token's file {place} is empty.")
    if not _TOKEN.fullmatch(token):
        raise DeviceError("bad-config", f"{place} {_MALFORMED}.")
    return token
