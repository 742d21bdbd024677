"""`edgelift login` and `logout`: a control plane elsewhere, with who may vouch for it and as whom it is called."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, print_json
from edgelift.logins import Login, all_logins, authority_file, forget_login, keep_login, login_of, plain_url
from edgelift.output import say, show_table
from edgelift.reach import named_token
from edgelift_contract.errors import ContractError, EdgeliftError

if TYPE_CHECKING:
    from edgelift_fleet.client import Client


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("login")(_login)
    app.command("logout")(_logout)


def _login(
    url: Annotated[
        str, typer.Argument(help="The control plane, as https://host:8470; without: list the logins.")
    ] = "",
    name: Annotated[
        str, typer.Option("--name", help="Who logs in [default: asked for].", show_default=False)
    ] = "",
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file", metavar="FILE", help="Holds the password; - for standard input.", show_default=False
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="FILE", show_default=False,
            help="Holds an access token, in place of name and password.",
        ),
    ] = None,
    pin: Annotated[
        str,
        typer.Option(
            "--pin", show_default=False,
            help="The site's authority, as `edgelift init` and `edgelift authority show` tell it.",
        ),
    ] = "",
    ca_file: Annotated[
        Path | None,
        typer.Option(
            "--ca-file", metavar="FILE", show_default=False,
            help="Who may vouch for it, where that is not the site's own authority.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Over plain HTTP, where a password can be read on the way.")
    ] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Log in at a control plane elsewhere: commands speak to it from then on. Without a URL, list the logins."""
    if not url:
        _list(as_json=as_json)
        return
    url = plain_url(url)
    _check(url, insecure=insecure)
    authorities = _authorities(url, pin, ca_file) if url.startswith("https://") else ""
    token = named_token(token_file)
    made = _by_token(url, authorities, token) if token else _by_password(url, authorities, name, password_file)
    kept = keep_login(made)
    if as_json:
        print_json({"url": made.url, "name": made.name, "role": made.role, "expires_at": made.expires_at})
        return
    until = f" until {time.strftime('%Y-%m-%d %H:%M', time.localtime(made.expires_at))}" if made.expires_at else ""
    say(f"Logged in at {made.url} as {made.name} ({made.role}){until}. Kept in {kept}.")


def _logout(
    url: Annotated[str, typer.Argument(help="Where [default: where you logged in last].")] = "",
    as_json: JsonOption = False,
) -> None:
    """End a login: its token holds no more, and is forgotten here."""
    found = login_of(url) if url else next(iter(all_logins()), None)
    if found is None:
        raise ContractError("not-found", f"You are not logged in{f' at {url}' if url else ''}.")
    ended = True
    try:
        from edgelift_fleet.messages import Me

        _client(found).ask("/v1/logout", {}, Me)
    except EdgeliftError as error:
        ended = error.code == "not-authorised"  # it held no more
        if not ended:  # the site's own token, too, is no login's to end
            say(f"Its token is forgotten here, and holds on until it ends: {error}", to_errors=True)
    forget_login(found.url)
    if as_json:
        print_json({"url": found.url, "ended": ended})
    else:
        say(f"Logged out at {found.url}.")


def _list(*, as_json: bool) -> None:
    found = all_logins()
    if as_json:
        print_json(
            [{"url": one.url, "name": one.name, "role": one.role, "expires_at": one.expires_at} for one in found]
        )
    elif not found:
        say("You are logged in nowhere. Log in with: edgelift login https://HOST:8470")
    else:
        rows = [
            (one.url, one.name, one.role, _until(one.expires_at), "current" if at == 0 else "")
            for at, one in enumerate(found)
        ]
        show_table(("control plane", "name", "role", "until", ""), rows)


def _until(moment: float) -> str:
    if not moment:
        return "it is taken back"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment > time.time() else "over"


def _check(url: str, *, insecure: bool) -> None:
    if url.startswith("https://"):
        return
    if not insecure:
        raise ContractError(
            "malformed", f"{url} speaks no TLS: what you type can be read on the way.",
            hint="Use https://; or --insecure, where the way is your own.",
        )  # fmt: skip


def _authorities(url: str, pin: str, ca_file: Path | None) -> str:
    """Who may vouch for it: said, or what it names itself and a person has compared; empty for those of this system."""
    if ca_file is not None:
        try:
            return ca_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ContractError("not-found", f"The CA file {ca_file} cannot be read: {error}.") from error
    from edgelift_fleet.first_contact import is_trusted_here, offered_authorities, pinned_authority

    if pin:
        return pinned_authority(url, pin.strip().lower().replace(":", ""))
    if is_trusted_here(url):
        return ""
    # While it is changed, the newest is not the one whose certificate is shown yet.
    offered, certificate = next(reversed(offered_authorities(url).items()))
    say(f"{url} is vouched for by an authority that this machine does not know:\n  {offered}", to_errors=True)
    if not sys.stdin.isatty():
        raise ContractError(
            "malformed", "Nobody is here to say whether that is the site's.",
            hint="Name it: --pin, as `edgelift init` told it, and `edgelift authority show` tells it there.",
        )  # fmt: skip
    if not typer.confirm("Is that what `edgelift init` or `edgelift authority show` says there?", err=True):
        raise typer.Exit(1)
    return certificate


def _by_token(url: str, authorities: str, token: str) -> Login:
    from edgelift_fleet.messages import Me

    made = Login(url, token, authorities=authorities)
    found = _client(made).get("/v1/me", Me)
    return Login(url, token, found.name, found.role, authorities, found.expires_at)


def _by_password(url: str, authorities: str, name: str, file: Path | None) -> Login:
    from edgelift_fleet.messages import LoggedIn, LoginRequest

    name = name or typer.prompt("Name", err=True)
    wanted = LoginRequest(name, _password(file))
    made = _client(Login(url, "", authorities=authorities)).ask("/v1/login", wanted, LoggedIn)
    return Login(url, made.token, made.name, made.role, authorities, made.expires_at)


def _password(file: Path | None) -> str:
    if file is None and sys.stdin.isatty():
        import getpass

        return getpass.getpass("Password: ", stream=sys.stderr)
    try:
        found = sys.stdin.read(4096) if file is None or str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError("not-found", f"The password file {file} cannot be read: {error}.") from error
    return found.rstrip("\r\n")


def _client(login: Login) -> Client:
    from edgelift_fleet.client import Client

    return Client(login.url, login.token, ca_file=authority_file(login))
