"""The command about boards: `targets` lists them, `targets NAME` explains one value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import print_json
from edgelift.output import make_console, printing, show_table

if TYPE_CHECKING:
    from edgelift_builder.targets import Target


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("targets")(_targets)


def _targets(
    name: Annotated[
        str, typer.Argument(help="A board, or the path of a TOML file; without it all are listed.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the source of every value.")] = False,
) -> None:
    """List the boards that can be built for, or explain one: every value, and who says so."""
    from edgelift_builder.targets import load_target, names

    found = [load_target(name)] if name else [load_target(each) for each in names()]
    if as_json:
        print_json(found[0] if name else found)
    elif name:
        with printing():
            _explain(found[0])
    else:
        _list(found)


def _list(found: list[Target]) -> None:
    show_table(
        ("target", "board", "hardware class", "cores", "memory", "runtimes, best first", "precisions"),
        [
            (t.name, t.title, t.hardware_class, str(t.cores), f"{t.memory_mb} MB", ", ".join(t.runtimes),
             ", ".join(t.precisions))
            for t in found
        ],
    )  # fmt: skip


def _explain(target: Target) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console = make_console()
    console.print(Text.assemble((target.name, "bold"), f": {target.title}"))
    for field, value in _values(target):
        console.print(Text.assemble("\n", (field, "bold"), f"  {value}"))
        console.print(Padding(Text(target.sources[field], "dim"), (0, 0, 0, 4)))
    for bad in target.known_bad:
        issue = f" ({bad.issue})" if bad.issue else ""
        console.print(Text.assemble("\n", ("known bad", "bold yellow"), f"  {bad.what}{issue}"))
        console.print(Padding(Text(bad.source, "dim"), (0, 0, 0, 4)))


def _values(target: Target) -> list[tuple[str, str]]:
    """`(field, value as text)`, in the order of the file."""
    lines = [
        ("hardware_class", target.hardware_class),
        ("cores", str(target.cores)),
        ("memory_mb", str(target.memory_mb)),
        ("runtimes", ", ".join(target.runtimes)),
        ("precisions", ", ".join(target.precisions)),
        ("pythons", ", ".join(target.pythons) or "none that runs the agent"),
    ]
    if target.last:
        lines.append(("last", ", ".join(target.last)))
    if target.emulated_cpu:
        lines.append(("emulated_cpu", target.emulated_cpu))
    for runtime, scheme in target.int8.items():
        notes = ["a scale per channel" if scheme.per_channel else "one scale per tensor"]
        notes += ["seven-bit weights"] if scheme.reduce_range else []
        kinds = f"{scheme.activation} activations, {scheme.weight} weights"
        lines.append((f"int8.{runtime}", f"{kinds}, {', '.join(notes)}"))
    for runtime, options in target.options.items():
        text = [f"{options.threads} threads", "spinning" if options.spinning else "no spinning"]
        text += [f"{key} = {value}" for key, value in options.entries.items()]
        lines.append((f"options.{runtime}", ", ".join(text)))
    return lines
