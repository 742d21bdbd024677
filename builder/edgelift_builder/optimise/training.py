"""Winning accuracy back: fine-tuning by the source, distillation from the float model.

Fine-tuning is the source's own `fine_tune`; where it offers none, distillation stands in: the changed module learns
to answer as the float model does, on the calibration inputs, without labels (G. Hinton et al., "Distilling the
Knowledge in a Neural Network", 2015: softened outputs, temperature T, loss · T²; squared error for outputs that
are not scores). Seeded, on one thread, so that the same source gives the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelift_builder import data
from edgelift_builder.exceptions import summarise
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.source import tensors
from edgelift_builder.source.held import current
from edgelift_contract.errors import ContractError

_TEMPERATURE, _BATCH = 2.0, 32


def win_back(changed: Any, data_folder: Path, epochs: int) -> tuple[Any, str]:
    """`changed` trained on by the source, or by distillation where it offers none; and what was done.

    Raises:
        ContractError: `source-raised` when the source's function fails, `source-invalid` when it returns no module.
    """
    import torch

    tune: Callable[[Any], Any] | None = current().fine_tune
    if tune is None:
        return distil(
            changed, data.load(data_folder / CALIBRATION), epochs
        ), f"Distilled from the float model for {epochs} epochs."
    try:
        trained = tune(changed)
    except Exception as error:
        raise ContractError(
            "source-raised", f"The source's fine_tune raised {summarise(error)}.",
            hint="It is given the changed module, whose layers may be narrower, and must train that one.",
        ) from error  # fmt: skip
    if not isinstance(trained, torch.nn.Module):
        raise ContractError(
            "source-invalid", f"The source's fine_tune returned {type(trained).__name__}, not the trained module."
        )
    return trained.eval(), "Fine-tuned by the source."


def distil(student: Any, samples: data.DataSet, epochs: int) -> Any:
    """`student` taught to answer as the source's float model does; in evaluation mode again.

    Batch statistics stay as they are: the calibration inputs are too few to set them anew.
    """
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    teacher, student = current().model, student.eval()
    for parameter in student.parameters():
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(student.parameters(), lr=5e-4)
    count = data.length(samples)
    steps = max(1, epochs * -(-count // _BATCH))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(count, generator=generator).split(_BATCH):
            optimiser.zero_grad()
            inputs = tensors.several(samples, batch.numpy())
            with torch.no_grad():
                wanted = _listed(tensors.run(teacher, inputs))
            _loss(_listed(tensors.run(student, inputs)), wanted).backward()
            optimiser.step()
            schedule.step()
    return student.eval()


def _loss(found: list[Any], wanted: list[Any]) -> Any:
    import torch
    from torch.nn import functional

    total = torch.zeros(())
    for ours, theirs in zip(found, wanted, strict=True):
        if ours.ndim >= 2 and ours.shape[-1] > 1:
            soft = functional.log_softmax(ours / _TEMPERATURE, -1), functional.softmax(theirs / _TEMPERATURE, -1)
            total = total + functional.kl_div(*soft, reduction="batchmean") * _TEMPERATURE**2
        total = total + functional.mse_loss(ours, theirs) / theirs.var().clamp_min(1e-6)
    return total


def _listed(result: Any) -> list[Any]:
    return [result] if hasattr(result, "shape") else list(result)
