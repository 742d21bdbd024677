"""A case for choosing: calibration samples with what the float model says to them, beside that which judges.

Made only for a search, which looks at its samples again and again. There are no labels: agreement with float chooses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder import calls, data
from edgelift_builder.facts import CALIBRATION, EVALUATION, LABELS, REFERENCE
from edgelift_builder.source import held

#: Most calibration samples that choose.
CHOOSERS = 500


def lay_out(folder: str, into: str, axes: dict[str, int | None]) -> None:
    """In the source's child: ask the float model, and write the case as `case_data.read_case` reads it.

    Args:
        folder: has the calibration samples.
        into: receives the case; is made.
        axes: sample axes of inputs and outputs in a call.

    Raises:
        ContractError: `source-raised` or `source-invalid`, as of any evaluation sample.
    """
    from edgelift_builder.source.forward import forward  # imports torch, which the parent never does

    out = Path(into)
    out.mkdir(parents=True, exist_ok=True)
    inputs = next(data.stream(Path(folder) / CALIBRATION, CHOOSERS))
    model: Any = held.current().model
    answers = [forward(model, call, "calibration input") for call in calls.each(inputs, axes)]
    for name, columns in ((EVALUATION, inputs), (LABELS, {}), (REFERENCE, calls.together(answers, axes))):
        data.save(out / name, columns)
