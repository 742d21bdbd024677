"""The two steps that only train: by the source's own function, or taught by the float model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder import data
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.optimise import training
from edgelift_builder.optimise.module_step import ModuleStep
from edgelift_builder.source.held import current
from edgelift_contract.errors import ContractError


def fine_tune(model: Any, data_folder: Path, settings: dict[str, Any]) -> tuple[Any, list[str]]:
    """Train on by the source's own `fine_tune`.

    Raises:
        ContractError: `source-invalid` when the source offers none, `source-raised` when it fails.
    """
    if current().fine_tune is None and not settings["or_distil"]:
        raise ContractError(
            "source-invalid",
            "The source offers no fine-tuning.",
            hint="Give Source a fine_tune: a function that takes the changed module and returns it trained.",
        )
    trained, remark = training.win_back(model, data_folder, settings["epochs"])
    return trained, [remark]


def distil(model: Any, data_folder: Path, settings: dict[str, Any]) -> tuple[Any, list[str]]:
    """Have the float model teach it; raises what the model raises."""
    return training.distil(model, data.load(data_folder / CALIBRATION), settings["epochs"]), []


#: `or_distil`: distil where the source offers no fine-tuning, instead of refusing; `epochs` of that.
FINE_TUNE = ModuleStep("fine-tune", fine_tune, {"or_distil": True, "epochs": 20})

#: `epochs`: times that the calibration inputs are gone through.
DISTIL = ModuleStep("distil", distil, {"epochs": 20})
