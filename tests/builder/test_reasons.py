"""Why something failed reaches a person in a sentence or two, without the paths of the machine that built."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import edgelift_builder
from edgelift_builder.candidate import Failed
from edgelift_builder.convert import export_refusal, script_refusal
from edgelift_builder.exceptions import in_short, summarise
from edgelift_contract.errors import ContractError

HERE = Path(__file__).resolve()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("what it says.\nand a dump\nof many lines", "what it says"),
        (f"{HERE}:12:3: error: no such operand", f"{HERE.name}:12:3: error: no such operand"),
        ("assert failed at '/__w/torch/aten/ivalue_inl.h':1985, please report a bug to PyTorch. Expected IntList",
         "assert failed at 'ivalue_inl.h':1985. Expected IntList"),
        ("One thing. Another. A third.", "One thing. Another"),
        ("Node /layers.0/MatMul: shapes differ", "Node /layers.0/MatMul: shapes differ"),
        ("see https://example.org/usr/tmp for more", "see https://example.org/usr/tmp for more"),
        ("word " * 200, ("word " * 200)[:299] + "…"),
        ("", ""),
    ],
)  # fmt: skip
def test_another_librarys_words_are_told_in_short(said: str, told: str) -> None:
    assert in_short(said) == told


def test_the_users_own_words_keep_their_paths() -> None:
    assert summarise(OSError(f"no {HERE}"), with_paths=True) == f"OSError: no {HERE}"


def test_every_reason_of_a_variant_is_on_one_line_without_a_path() -> None:
    error = ContractError("conversion-failed", f"It failed:\n at {HERE}. {'word ' * 300}", hint="Do this.")
    told = Failed(cast("Any", SimpleNamespace()), error).error
    assert told.message.startswith(f"It failed: at {HERE.name}. word") and len(told.message) <= 600
    assert (told.code, told.hint) == (error.code, error.hint)
    short = ContractError("conversion-failed", "It failed.")
    assert Failed(cast("Any", SimpleNamespace()), short).error is short


def test_nothing_in_the_builder_tells_a_foreign_exception_as_it_came() -> None:
    home = Path(edgelift_builder.__file__).parent
    found = [
        f"{path.relative_to(home)}:{part.lineno}"
        for path in home.rglob("*.py")
        for caught in ast.walk(ast.parse(path.read_text()))
        if isinstance(caught, ast.ExceptHandler) and caught.name
        for part in ast.walk(caught)
        if isinstance(part, ast.FormattedValue)
        and isinstance(part.value, ast.Name)
        and part.value.id == caught.name
    ]
    assert found == [], "tell it by exceptions.summarise, or in_short"


def test_a_converters_words_are_known_by_what_the_model_does() -> None:
    half = RuntimeError(
        "failed to legalize operation 'tfl.conv_2d': (tensor<1x3x16x16xf16>, tensor<8x3x3x3xf16>) -> tensor<1x8xf16>"
    )
    assert "TFLite does not compute conv_2d in float16" in export_refusal.explain(half, "TFLite").message
    numpy = RuntimeError(".numpy() is not supported for tensor subclasses.")
    assert "forward computes in numpy" in export_refusal.explain(numpy, "TFLite").message
    own = ContractError("conversion-failed", "What we say ourselves.")
    wrapped = RuntimeError("Failed to export the model. Step 1/3")
    wrapped.__cause__ = own
    assert export_refusal.explain(wrapped, "ONNX") is own
    untyped = RuntimeError(
        'Expected a default value of type Tensor (inferred) on parameter "log".Because "log" was'
    )
    told = script_refusal.explain(untyped)
    assert "its argument log has a default" in told.message and "`log: bool = False`" in told.hint
