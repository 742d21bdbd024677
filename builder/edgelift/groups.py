"""A group of commands, as `edgelift user`: its words, and what each does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer


def add_group(app: typer.Typer, name: str, about: str, commands: Mapping[str, Callable[..., None]]) -> None:
    """Give `app` a group of commands, by their words; without any of them it shows its help."""
    # Else `[default: …]` in a help text is read as markup and lost.
    group = typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None)
    for word, command in commands.items():
        group.command(word)(command)
    app.add_typer(group, name=name)
