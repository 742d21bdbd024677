"""Sources for the tests: a model so small that nothing takes long, and every way to get one wrong."""

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgelift_builder import Meaning, Source

N = 400


class Tiny(nn.Module):
    """`x: float32[N, 1, 8, 8]` → `float32[N, 4]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(torch.relu(self.norm(self.conv(x))), 1))


def _source(model: nn.Module, **changes: object) -> Source:
    # Four kinds of images, far apart, told from each other by fitting the last layer in closed form.
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 4
    centres = rng.normal(size=(4, 1, 8, 8)) * 2
    images = (centres[labels] + rng.normal(size=(N, 1, 8, 8)) * 0.1).astype(np.float32)
    fields: dict[str, object] = {
        "name": "tiny",
        "model": model,
        "example_inputs": (torch.zeros(1, 1, 8, 8),),
        "evaluation_inputs": images,
        "evaluation_labels": labels,
        "calibration_inputs": images[:50],
    }
    return Source(**(fields | changes))  # type: ignore[arg-type]  # the tests give wrong types on purpose


def _fitted() -> Tiny:
    torch.manual_seed(0)
    model = Tiny().eval()
    source = _source(model)
    x = torch.from_numpy(source.evaluation_inputs)
    with torch.no_grad():
        features = torch.flatten(torch.relu(model.norm(model.conv(x))), 1)
        wanted = torch.nn.functional.one_hot(torch.from_numpy(source.evaluation_labels), 4).float() * 10
        model.fc.weight.copy_(torch.linalg.lstsq(features, wanted, driver="gelsd").solution.T)
        model.fc.bias.zero_()
    return model


def tiny() -> Source:
    return _source(_fitted())


#: Names that a page must not take for its own.
KINDS = ("cat", "<script>alert(1)</script>", "Löwe 猫", "[red]dog[/red]")


def meant() -> Source:
    """One that tells what its numbers mean."""
    return _source(
        _fitted(),
        inputs=Meaning(unit="intensity 0 to 255", scale=np.float32(64.0), offset=[128.0]),
        outputs={"output_0": Meaning(labels=KINDS)},
        metadata={"camera": "north", "lens_mm": 3.6, "threshold": np.float64(0.25), "colour": False, "year": 2026},
    )


def named_in_brackets() -> Source:
    return _source(_fitted(), metric=_right, metric_name="[/red]score[x]")


def _right(outputs: Mapping[str, Any], labels: Any) -> Any:
    return next(iter(outputs.values())).argmax(-1) == labels


def unlabelled() -> Source:
    return _source(_fitted(), evaluation_labels=None, calibration_inputs=None)


def few_samples() -> Source:
    whole = _source(_fitted())
    return _source(
        whole.model, evaluation_inputs=whole.evaluation_inputs[:50], evaluation_labels=whole.evaluation_labels[:50]
    )


def own_metric() -> Source:
    def nearly(outputs: dict[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
        scores = torch.softmax(torch.from_numpy(outputs["output_0"]), -1).numpy()
        return scores[np.arange(len(labels)), labels]

    return _source(_fitted(), metric=nearly, metric_name="likelihood")


class _Spread(nn.Module):
    """Weights of very different sizes: what int8 per tensor cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(1, 8, 1, bias=False)
        self.fc = nn.Linear(8 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.scale(x), 1))


def lossy() -> Source:
    torch.manual_seed(0)
    model = _Spread().eval()
    with torch.no_grad():
        # One channel is a million times louder, and the last layer looks only at the quiet ones.
        model.scale.weight.copy_(torch.tensor([1e6] + [1.0] * 7).view(8, 1, 1, 1))
        model.fc.weight[:, :64] = 0
        model.fc.bias.zero_()
    source = _source(model)
    with torch.no_grad():
        labels = model(torch.from_numpy(source.evaluation_inputs)).argmax(1).numpy()
    return _source(model, evaluation_labels=labels)


def _balanced(model: Any, images: Any) -> Any:
    """The model's own answers, after its last bias was moved so that all four occur: a constant answer is no labels."""
    scores = model(torch.from_numpy(images))
    model.fc.bias.sub_(scores.median(dim=0).values)
    return model(torch.from_numpy(images)).argmax(1).numpy()


def wrong_shape() -> Source:
    return _source(_fitted(), example_inputs=(torch.zeros(1, 1, 10, 10),))


def wrong_data_shape() -> Source:
    return _source(_fitted(), evaluation_inputs=np.zeros((N, 1, 9, 9), np.float32))


def regression() -> Source:
    return _source(_fitted(), evaluation_labels=np.linspace(0, 1, N, dtype=np.float32))


def too_few_labels() -> Source:
    return _source(_fitted(), evaluation_labels=np.zeros(3, int))


def calibration_with_nan() -> Source:
    bad = np.zeros((5, 1, 8, 8), np.float32)
    bad[3, 0, 0, 0] = np.nan
    return _source(_fitted(), calibration_inputs=bad)


def raises() -> Source:
    return _helper({})


def _helper(settings: dict[str, int]) -> Source:
    raise KeyError("learning_rate")


def exits() -> Source:
    raise SystemExit(3)


def hangs() -> Source:
    while True:
        time.sleep(0.05)


def crashes() -> Source:
    os.kill(os.getpid(), 11)
    return tiny()


def not_a_source() -> dict[str, int]:
    return {"accuracy": 1}


def state_dict() -> dict[str, Tensor]:
    return Tiny().state_dict()


def state_dict_as_model() -> Source:
    return _source(Tiny().state_dict())  # type: ignore[arg-type]  # on purpose


def bad_name() -> Source:
    return _source(_fitted(), name="My Model!")


class _Unsupported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.special.bessel_j0(torch.flatten(x, 1)))


def unsupported() -> Source:
    return _source(_Unsupported().eval(), evaluation_labels=None)


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return self.fc(torch.flatten(x, 1))
        return -self.fc(torch.flatten(x, 1))


def branching() -> Source:
    return _source(_Branching().eval())


class _Deep(nn.Module):
    """A first layer that int8 per tensor cannot hold, then two that it can."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Linear(64, 64, bias=False)
        self.middle = nn.Linear(64, 64)
        self.fc = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.middle(torch.relu(self.spread(torch.flatten(x, 1))))))


def _loud(model: _Deep) -> Source:
    """With one weight of 300 on a pixel that is always 0: the scale it forces rounds all others of `spread` away."""
    source = _source(model)
    with torch.no_grad():
        model.spread.weight[0, 0] = 300.0
    images = source.evaluation_inputs.copy()
    images[:, 0, 0, 0] = 0.0
    with torch.no_grad():
        labels = _balanced(model, images)
    return _source(model, evaluation_inputs=images, calibration_inputs=images[:50], evaluation_labels=labels)


def lossy_deep() -> Source:
    torch.manual_seed(0)
    return _loud(_Deep().eval())


def lossy_shallow() -> Source:
    """Where that layer is nearly all of the model."""
    torch.manual_seed(0)
    model = _Deep()
    model.middle = nn.Identity()
    return _loud(model.eval())


def lossy_deep_apart() -> Source:
    whole = lossy_deep()
    return _source(
        whole.model,
        evaluation_inputs=whole.evaluation_inputs[50:],
        calibration_inputs=whole.evaluation_inputs[:50],
        evaluation_labels=whole.evaluation_labels[50:],
    )


class _Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.last = nn.Conv2d(8, 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.last(torch.relu(self.conv(x))), 1)


def convolutions() -> Source:
    torch.manual_seed(0)
    return _source(_Convolutions().eval(), evaluation_labels=None)


class _TwoHeads(nn.Module):
    """Classes that 8 bits keep, and values of which they keep a part: a weight far larger than the others is their scale."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = _fitted()
        self.values = nn.Linear(64, 2, bias=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"kind": self.classes(x), "values": self.values(torch.flatten(x, 1))}


def two_heads() -> Source:
    torch.manual_seed(0)
    model = _TwoHeads().eval()
    source = _source(model.classes)
    images, labels = source.evaluation_inputs.copy(), source.evaluation_labels
    images[:, 0, 0, 0] = 0
    with torch.no_grad():
        model.values.weight[:, 0] = 8.0
    return _source(
        model, evaluation_inputs=images, evaluation_labels={"kind": labels}, calibration_inputs=images[:50]
    )


def quiet_score(**changes: object) -> Source:
    """A fifth score hardly varies beside the others, and never is the largest."""
    model = _fitted()
    wide = nn.Linear(model.fc.in_features, 5)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([model.fc.weight, 0.003 * model.fc.weight[:1]]))
        wide.bias.copy_(torch.cat([model.fc.bias, torch.tensor([-5.0])]))
    model.fc = wide
    return _source(model, **changes)


def quiet_score_unlabelled() -> Source:
    """Where nobody says what is right, that score counts as any other."""
    return quiet_score(evaluation_labels=None)


class _RareClass(nn.Module):
    """Four classes that 8 bits keep, and a fifth whose one weight they lose beside a far larger one."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = _fitted()
        self.rare = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.classes(x), self.rare(torch.flatten(x, 1))], 1)


def rare_class() -> Source:
    """One sample in 20 is of that class, and so loud that only its own weight tells it."""
    model = _RareClass().eval()
    source = _source(model.classes)
    images, labels = source.evaluation_inputs.copy(), source.evaluation_labels.copy()
    labels[::20] = 4
    images[:, 0, 0, :2] = 0
    images[::20, 0, 0, 1] = 8
    with torch.no_grad():
        model.rare.weight.zero_()
        model.rare.weight[0, :2] = torch.tensor([3000.0, 10.0])
        model.rare.bias.fill_(-40.0)
    return _source(model, evaluation_inputs=images, evaluation_labels=labels, calibration_inputs=images[:50])
