"""The commands about people: `user add`, `list`, `role`, `password`, `disable`, `enable`, `remove`.

They need no running server, so that the first person can be added before there is one.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, SiteOption, check_role, open_registry, print_json
from edgelift.groups import add_group
from edgelift.output import ago, say, show_table
from edgelift_contract.errors import ContractError, DeviceError

if TYPE_CHECKING:
    from edgelift_fleet.messages import PersonView

NameArgument = Annotated[
    str, typer.Argument(help="The person's name: a-z, 0-9, . _ and -, a letter or a digit first.")
]
RoleOption = Annotated[
    str, typer.Option("--role", help="viewer: reads; operator: changes too; admin: everything.")
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file", metavar="FILE", show_default=False,
        help="Holds the password; - for standard input [default: it is asked for, twice].",
    ),
]  # fmt: skip
GenerateOption = Annotated[
    bool, typer.Option("--generate", help="Have a password made, which is shown this once.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    add_group(
        app, "user", "People who may log in: add, list, change, shut out.",
        {
            "add": _add, "list": _list, "role": _role, "password": _password,
            "disable": _disable, "enable": _enable, "remove": _remove,
        },
    )  # fmt: skip


def _add(
    name: NameArgument,
    role: RoleOption,
    password_file: FileOption = None,
    generate: GenerateOption = False,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a person, who then may log in."""
    from edgelift_fleet.messages import PersonRequest, PersonView

    check_role(role)
    password = _chosen(name, password_file, generate=generate)
    wanted = PersonRequest(name, role, password)  # type: ignore[arg-type]  # it is one of them
    with open_registry(site) as client:
        made = client.post("/v1/people", wanted, PersonView)
    _tell(made, f"Added {made.name}, {made.role}.", password if generate else "", as_json=as_json)


def _list(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """List people, with their roles."""
    from edgelift_fleet.messages import PersonView

    with open_registry(site) as client:
        found = client.get("/v1/people", list[PersonView])
    if as_json:
        print_json(found)
    elif not found:
        say(
            "There are no people, but for who holds the site's own token. Add one: edgelift user add NAME --role ROLE."
        )
    else:
        rows = [
            (one.name, one.role, "shut out" if one.disabled else "", str(one.tokens), ago(one.made_at))
            for one in found
        ]
        show_table(("name", "role", "", "tokens", "added"), rows)


def _role(
    name: NameArgument,
    role: Annotated[str, typer.Argument(help="viewer, operator or admin.")],
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a person another role. A lesser one holds at once; a higher one from the next login."""
    from edgelift_fleet.messages import RoleRequest

    check_role(role)
    wanted = RoleRequest(role)  # type: ignore[arg-type]  # it is one of them
    made = _post(site, name, "role", wanted)
    _tell(made, f"{made.name} is {made.role} now.", as_json=as_json)


def _password(
    name: Annotated[
        str,
        typer.Argument(help="The person's name [default: whoever is logged in, who is asked for the old one]."),
    ] = "",
    old_file: Annotated[
        Path | None,
        typer.Option(
            "--old-password-file",
            metavar="FILE",
            show_default=False,
            help="Holds one's own old password; - for standard input [default: it is asked for].",
        ),
    ] = None,
    password_file: FileOption = None,
    generate: GenerateOption = False,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give oneself another password, or an admin a person. Whoever else is logged in by the old one is out."""
    if name and old_file is not None:
        raise ContractError(
            "malformed", "The old password is asked for one's own alone.", hint="Leave out the name, or --old-password-file."
        )  # fmt: skip
    if name:
        from edgelift_fleet.messages import PasswordRequest

        password = _chosen(name, password_file, generate=generate)
        made = _post(site, name, "password", PasswordRequest(password))
    else:
        made, password = _change_own(site, old_file, password_file, generate=generate)
    _tell(made, f"{made.name} has another password.", password if generate else "", as_json=as_json)


def _change_own(
    site: Path | None, old_file: Path | None, file: Path | None, *, generate: bool
) -> tuple[PersonView, str]:
    from edgelift_fleet.messages import Me, OwnPasswordRequest, PersonView

    with open_registry(site) as client:
        name = client.get("/v1/me", Me).name
        old = (
            _typed(f"Old password for {name}: ", name, "--old-password-file")
            if old_file is None
            else _read(old_file)
        )
        password = _chosen(name, file, generate=generate)
        return client.post("/v1/me/password", OwnPasswordRequest(old, password), PersonView), password


def _disable(name: NameArgument, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Shut a person out: neither the password nor any token that is theirs or that they made lets anybody in."""
    made = _post(site, name, "disable", {})
    _tell(
        made, f"{made.name} is shut out, within 5 s everywhere{_and_tokens(made, 'are refused')}.", as_json=as_json
    )


def _enable(name: NameArgument, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Let a person in again."""
    made = _post(site, name, "enable", {})
    _tell(made, f"{made.name} may log in again{_and_tokens(made, 'hold again')}.", as_json=as_json)


def _remove(name: NameArgument, site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Remove a person, and all tokens that are theirs or that they made. What they did stays in the audit log."""
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import PersonRemoved

    with open_registry(site) as client:
        made = client.delete(f"/v1/people/{segment(name)}", PersonRemoved)
    if as_json:
        print_json(made)
    else:
        say(f"{made.name} is removed; tokens that ended with them: {made.ended}.")


def _and_tokens(made: PersonView, what: str) -> str:
    return f"; tokens of programs, theirs or made by them, that {what}: {made.tokens}" if made.tokens else ""


def _post(site: Path | None, name: str, what: str, wanted: object) -> PersonView:
    from edgelift_fleet.client import segment
    from edgelift_fleet.messages import PersonView

    with open_registry(site) as client:
        return client.post(f"/v1/people/{segment(name)}/{what}", wanted, PersonView)


def _tell(made: PersonView, sentence: str, password: str = "", *, as_json: bool) -> None:
    if as_json:
        from msgspec import to_builtins

        print_json({**to_builtins(made), **({"password": password} if password else {})})
        return
    say(sentence, to_errors=bool(password))
    if password:
        say("The password, shown this once:", to_errors=True)
        say(password)


def _chosen(name: str, file: Path | None, *, generate: bool) -> str:
    """The new password: made, from its file, or typed twice; never from the command line, where others could read it.

    Raises:
        ContractError: `malformed`. DeviceError: `bad-config` when its file can't be read, or nobody is there to type it.
    """
    if generate and file is not None:
        raise ContractError("malformed", "--generate and --password-file contradict each other.", hint="Name one.")
    if generate:
        return secrets.token_urlsafe(16)
    if file is not None:
        return _read(file)
    typed = _typed(f"New password for {name}: ", name, "--password-file", "; or have one made: --generate")
    if typed != _typed("Again: ", name, "--password-file"):
        raise ContractError("malformed", "The two are not the same.", hint="Try again.")
    return typed


def _typed(prompt: str, name: str, option: str, else_: str = "") -> str:
    if not sys.stdin.isatty():
        raise DeviceError(
            "bad-config", f"A password is needed for {name}, and nobody is here to type it.",
            hint=f"Name its file: {option} FILE{else_}.",
        )  # fmt: skip
    import getpass

    return getpass.getpass(prompt, stream=sys.stderr)


def _read(file: Path) -> str:
    try:
        return (sys.stdin.read() if str(file) == "-" else file.read_text()).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError("bad-config", f"The password's file {file} cannot be read: {error}.") from error
