"""Which control plane a command speaks to: the site's own server, or the one that `--server` names.

Every command about a site takes `--site`; `reaching` gives it `--server` and `--token-file` as well, which stand
for the site's run file and its secret, and `--why` where it changes something. Named on the command line wins over
`$EDGELIFT_SERVER`, and `--site` over it. Where nothing is said and no site is at hand, it is the one where this user logged
in last.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelift.output import say
from edgelift_contract.errors import ContractError, DeviceError

if TYPE_CHECKING:
    from edgelift.logins import Login
    from edgelift_fleet.client import Client

ServerOption = Annotated[
    str,
    typer.Option(
        "--server", metavar="URL", show_default=False,
        help="A control plane elsewhere, as https://host:8470 [default: $EDGELIFT_SERVER or the site's own].",
    ),
]  # fmt: skip
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", show_default=False,
        help="Holds its operator token [default: $EDGELIFT_TOKEN_FILE, $EDGELIFT_TOKEN or the site's own].",
    ),
]  # fmt: skip

WhyOption = Annotated[
    str, typer.Option("--why", metavar="TEXT", show_default=False, help="Why, kept in the audit log.")
]

#: Longest token that is read from a file, characters; an enrolment token has some 300.
_LONGEST_TOKEN = 65_536
#: How long a shell may wait for names to offer, seconds, before it offers none.
_COMPLETING_S = 0.7


@dataclass(frozen=True)
class Whereabouts:
    """What was said of where the control plane is, and why it is asked for a change; empty where nothing was."""

    site: Path | None = None
    server: str = ""
    token_file: Path | None = None
    why: str = ""

    def merged(self, site: Path | None, server: str, token_file: Path | None) -> Whereabouts:
        """With what a subcommand says, which wins over what its group was told."""
        return replace(
            self, site=site or self.site, server=server or self.server, token_file=token_file or self.token_file
        )


_NOWHERE = Whereabouts()
_TOLD: ContextVar[Whereabouts] = ContextVar("address")


def reaching(command: Callable[..., None], *, changes: bool = False) -> Callable[..., None]:
    """`command`, which takes `--site`, with `--server` and `--token-file` too, and `--why` if it changes something and has
    none of its own; the function itself sees none of them.
    """
    signature = inspect.signature(command, eval_str=True)
    own = list(signature.parameters.values())
    at = next(i for i, one in enumerate(own) if one.name == "site") + 1
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own[at:at] = [
        inspect.Parameter("server", kind, default="", annotation=ServerOption),
        inspect.Parameter("token_file", kind, default=None, annotation=TokenFileOption),
    ]
    asks_why = changes and "why" not in signature.parameters
    if asks_why:
        own.insert(at + 2, inspect.Parameter("why", kind, default="", annotation=WhyOption))

    @functools.wraps(command)
    def reached(*given: Any, server: str = "", token_file: Path | None = None, **options: Any) -> None:
        why = options.pop("why", "") if asks_why else options.get("why") or ""
        _TOLD.set(replace(_TOLD.get(_NOWHERE).merged(options.get("site"), server, token_file), why=why))
        command(*given, **options)

    reached.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]  # what typer reads
    reached.__annotations__ = {one.name: one.annotation for one in own}
    return reached


def reach_all(app: typer.Typer, *, local: set[str], reads: set[str], group: str = "") -> None:
    """Give every command of `app` that takes `--site` the options of `reaching`, but for those whose words are `local`;
    those whose words are in `reads`, and the lists that groups are, change nothing.
    """
    for inner in app.registered_groups:
        if inner.typer_instance is not None:
            reach_all(inner.typer_instance, local=local, reads=reads, group=f"{group}{inner.name} ")
    for one in [app.registered_callback, *app.registered_commands]:
        words = f"{group}{one.name}" if one is not None and isinstance(one.name, str) else ""
        if one is None or one.callback is None or words in local:
            continue
        if "site" in inspect.signature(one.callback).parameters:
            one.callback = reaching(one.callback, changes=bool(words) and words not in reads)


def told(site: Path | None = None) -> Whereabouts:
    """What was said on the command line alone."""
    return _TOLD.get(_NOWHERE).merged(site, "", None)


def whereabouts(site: Path | None = None) -> Whereabouts:
    """What was said on the command line, in the environment and by a login, in this order. Raises as `_logged_in`."""
    found = told(site)
    if not found.server and found.site is None:
        found = replace(found, server=os.environ.get("EDGELIFT_SERVER", "") or _logged_in())
    return found


def _logged_in() -> str:
    """Where this user logged in last, which counts where no site is at hand; empty for nowhere.

    Raises:
        DeviceError: `bad-config` when the logins can't be read.
    """
    from edgelift.logins import current_login
    from edgelift_fleet.site import SITE_FILE, default_folder

    if os.environ.get("EDGELIFT_SITE") or (default_folder() / SITE_FILE).exists():
        return ""
    found = current_login()
    return found.url if found is not None else ""


def whereabouts_of(context: typer.Context) -> Whereabouts:
    """As `whereabouts`, of a command that a shell is about to complete: nothing has been told yet but to its context."""
    said: list[dict[str, Any]] = []
    inner: Any = context
    while inner is not None:
        said.append(inner.params)
        inner = inner.parent
    found = Whereabouts()
    for one in reversed(said):  # what a command was told wins over what its group was
        found = found.merged(one.get("site"), one.get("server") or "", one.get("token_file"))
    _TOLD.set(found)
    return whereabouts()


def connect(where: Whereabouts, *, timeout_s: float = 60.0, brief: bool = False) -> Client:
    """The control plane there.

    Args:
        where: what was said of it.
        timeout_s: for a connection, and between two pieces of an answer.
        brief: for a shell that completes a word: give up soon, and try nothing twice.

    Raises:
        ContractError: `not-found` where there is no site; for a URL as `plain_url`.
        TransportError: `unreachable` when no server runs on the site.
        DeviceError: `bad-config` when a token can't be read.
    """
    from edgelift.logins import authority_file, plain_url
    from edgelift_fleet.client import Client
    from edgelift_fleet.site import default_folder, load_site

    ca_file, timeout_s = os.environ.get("EDGELIFT_CA_FILE", ""), _COMPLETING_S if brief else timeout_s
    if not where.server:
        site = load_site(where.site or default_folder())
        return Client.of_site(site, token=named_token(where.token_file), timeout_s=timeout_s, patient=not brief)
    server, token = plain_url(where.server), named_token(where.token_file)
    kept = _login_at(server, token=token, ca_file=ca_file)
    if kept is not None:
        token, ca_file = token or kept.token, ca_file or authority_file(kept)
    token = token or _token_of(where.site or default_folder(), server)
    return Client(server, token, ca_file=ca_file, timeout_s=timeout_s, patient=not brief)


def _login_at(server: str, *, token: str, ca_file: str) -> Login | None:
    """The login there, where it is needed: for a token that nobody named, or for who may vouch for the server.

    Raises:
        DeviceError: `bad-config` when the logins can't be read and no token was named. With one they are left aside: this
            machine may know who vouches for the server, and if not, the connection says so.
    """
    from edgelift.logins import login_of

    if token and (ca_file or server.startswith("http://")):
        return None
    try:
        return login_of(server)
    except DeviceError as error:
        if not token:
            raise
        say(f"The logins are left aside: {error}", to_errors=True)
        return None


def _token_of(folder: Path, server: str) -> str:
    """The operator token of a site here, for a server that was named without one.

    Raises:
        ContractError: `not-found` where there is no site; what is missing is the token, so it says how to name that.
        DeviceError: `bad-config` when it can't be read.
    """
    from edgelift_fleet.site import load_site

    try:
        return load_site(folder).secret("operator-token")
    except ContractError as error:
        if error.code != "not-found":
            raise
        raise ContractError(
            "not-found", f"No operator token for {server} was named, and no site in {folder} has one.",
            hint=f"Log in: edgelift login {server}; or name its file: --token-file FILE or $EDGELIFT_TOKEN_FILE.",
        ) from error  # fmt: skip


def named_token(file: Path | None) -> str:
    """The token that was named, not on the command line, where others can read it; empty if none was."""
    named = file or (Path(name) if (name := os.environ.get("EDGELIFT_TOKEN_FILE")) else None)
    if named is None:
        return os.environ.get("EDGELIFT_TOKEN", "").strip()
    found = read_token(named)
    if not found:
        raise DeviceError("bad-config", f"The token file {named} is empty.")
    return found


def read_token(file: Path) -> str:
    """The token in a file, or a pipe. Raises DeviceError: `bad-config` for what can't be read, or is longer than any."""
    try:
        with file.open() as opened:
            found = opened.read(_LONGEST_TOKEN + 1)
        if len(found) > _LONGEST_TOKEN:
            raise ValueError(f"it has more than {_LONGEST_TOKEN} characters")
    except (OSError, ValueError) as error:  # text that is none is a ValueError, too
        raise DeviceError("bad-config", f"The token file {file} cannot be read: {error}.") from error
    return found.strip()
