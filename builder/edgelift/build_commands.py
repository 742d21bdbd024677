"""The command that builds a release: `build`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import print_json, seconds
from edgelift.output import make_console, printing

if TYPE_CHECKING:
    from edgelift_builder.build import Built
    from edgelift_builder.report.progress import Bar, Lines, Quiet
    from edgelift_builder.request import Request


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("build")(_build)


def _build(
    source: Annotated[
        str, typer.Argument(help="file.py:function, or a file: .onnx, .pt2, TorchScript .pt, .tflite.")
    ],
    target: Annotated[list[str], typer.Option("--target", "-t", help="A board to build for; repeat for more.")],
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A named recipe, or a TOML file.")] = "default",
    version: Annotated[str, typer.Option("--version", help="Version of the release.")] = "1",
    counter: Annotated[
        int | None, typer.Option("--counter", min=0, help="Release counter, where the version is not a number.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Name of the model, instead of the source's own.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Release folder [default: releases/MODEL@VERSION].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of a table.")] = False,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="[METRIC=]NUMBER",
            help="Most that a variant may lose instead of what is usual: 2, of the first metric, or 'box overlap=3'; "
            "repeat for more. Points of a share (accuracy, F1, IoU), per cent of float's value of an error (MAE, RMSE).",
        ),
    ] = None,
    search: Annotated[
        str, typer.Option("--search", metavar="TIME", help="Search for better recipes so long, as 60s or 10m.")
    ] = "",
    emulate: Annotated[
        bool, typer.Option("--emulate", help="Run ARM artifacts on their target's emulated processor.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, max=1_000_000, help="Seconds that the source may take.")
    ] = 600.0,
    accept: Annotated[bool, typer.Option("--accept", help="Ship also what broke its accuracy budget.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing release; ignore the cache.")] = False,
    data: Annotated[
        str, typer.Option("--data", help="Evaluation data of a model file: file.py:function, or an .npz.")
    ] = "",
    signature: Annotated[
        Path | None,
        typer.Option(
            "--signature", help="OpenSSF Model Signing signature of the source [default: model.sig beside it]."
        ),
    ] = None,
    signer_key: Annotated[
        Path | None, typer.Option("--signer-key", help="Public key that must have signed it, PEM.")
    ] = None,
    signer_cert: Annotated[
        list[Path] | None,
        typer.Option(
            "--signer-cert", help="CA certificate of who must have signed it, PEM; repeat up to the root."
        ),
    ] = None,
) -> None:
    """Build a release: convert, quantise, measure, and package a model for one or more boards."""
    from edgelift_builder.request import Request, parse_budgets

    main, named = parse_budgets(budget or [])
    request = Request(
        source=source, targets=target, recipe=recipe, version=version, counter=counter, model=model, out=out,
        budget=main, budgets=named, search_s=seconds(search) if search else 0.0, timeout_s=timeout, accept=accept,
        emulate=emulate, force=force, data=data, signature=signature, signer_key=signer_key,
        signer_chain=tuple(signer_cert or ()),
    )  # fmt: skip
    built = _run(request, quiet=as_json)
    hint = f"The release is in {built.folder}."
    if as_json:
        print_json(built.report, hint=hint)
    else:
        with printing(hint=hint):
            _show(built)


def _run(request: Request, *, quiet: bool) -> Built:
    from edgelift_builder.build import build
    from edgelift_builder.report.progress import Bar, Lines, Quiet

    console = make_console(to_errors=True)
    shown: AbstractContextManager[Bar | Lines | Quiet]
    if quiet:
        shown = nullcontext(Quiet())
    elif console.is_terminal:
        shown = Bar(console)
    else:
        shown = nullcontext(Lines(sys.stderr))
    with shown as progress:
        return build(request, progress)


def _show(built: Built) -> None:
    from edgelift_builder.report.terminal import show

    show(make_console(width=160), built.report, built.folder)
