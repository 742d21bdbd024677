"""Models of everyday size, built from their configuration: no download, and enough training to mean something.

    edgelift build builder/examples/fullsize.py:resnet18 --target x86-64
    edgelift build builder/examples/fullsize.py:bert6 --target x86-64 --recipe int8-dynamic

`resnet18` and `mobilenetv2` learn the digits for half a minute or a whole one, most of it on small images. `bert6` keeps its
random weights, but for a last layer fitted in closed form so that its answers are not chance; it is judged by how
often an artifact agrees with float.
"""

import numpy as np
import torch
from learning import Digits, shifted, train
from learning import digits as load
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from transformer import Layer

from edgelift_builder import Source

SIZE, SMALL = 64, 32
AGAIN, MOVED = (
    600,
    4,
)  # images that judge twice, the second time moved by half of a scan's pixel: 1,200 cannot quite tell
WORDS, LENGTH = 30522, 64  # BERT's vocabulary; tokens in a sentence
SENTENCES, FITTED = 1000, 400  # to judge by, and to fit the last layer


class Basic(nn.Module):
    """ResNet's basic block: K. He et al., arXiv 1512.03385."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(before, after, 3, stride), nn.ReLU(), *_conv(after, after, 3)
        )  # fmt: skip
        same = before == after and stride == 1
        self.short = nn.Sequential() if same else nn.Sequential(*_conv(before, after, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """`float32[N, before, H, W]` → `float32[N, after, H/stride, W/stride]`."""
        return F.relu(self.body(x) + self.short(x))


class Inverted(nn.Module):
    """MobileNetV2's block: M. Sandler et al., arXiv 1801.04381."""

    def __init__(self, before: int, after: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = before * expand
        grow = [*_conv(before, wide, 1), nn.ReLU6()] if expand > 1 else []
        self.body = nn.Sequential(
            *grow, *_conv(wide, wide, 3, stride, groups=wide), nn.ReLU6(), *_conv(wide, after, 1)
        )
        self.residual = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """`float32[N, before, H, W]` → `float32[N, after, H/stride, W/stride]`."""
        return x + self.body(x) if self.residual else self.body(x)


class Pooled(nn.Module):
    """A convolutional body, the mean of each of its channels, and a linear head for ten classes."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """`float32[N, 3, H, W]` → scores `float32[N, 10]`."""
        return self.head(self.body(x).mean(dim=(2, 3)))


class Encoder(nn.Module):
    """Six layers of BERT-base's width, as DistilBERT: V. Sanh et al., arXiv 1910.01108."""

    def __init__(self, width: int = 768, heads: int = 12, depth: int = 6) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(LENGTH, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, heads, 4 * width, first_norm=False) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def features(self, tokens: Tensor) -> Tensor:
        """`int64[N, 64]` → `float32[N, width]`."""
        x = self.norm(self.words(tokens) + self.places(torch.arange(LENGTH)))
        for layer in self.layers:
            x = layer(x)
        return x.mean(dim=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores `float32[N, 10]`."""
        return self.head(self.features(tokens))


def resnet18() -> Source:
    """11.2 million parameters, images of 64×64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [*_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Basic(before, after, stride), Basic(after, after, 1)]
        before = after
    return _taught("resnet18", Pooled(nn.Sequential(*layers), before), rate=1e-3, epochs_at_size=3)


def mobilenetv2() -> Source:
    """3.5 million parameters with its hidden layer of 1,000, images of 64×64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [*_conv(3, 32, 3, 2), nn.ReLU6()]
    before = 32
    for expand, after, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(count):
            layers.append(Inverted(before, after, stride if i == 0 else 1, expand))
            before = after
    # The usual head has 1,000 classes; ten of them are digits, and the others stay unused.
    model = Pooled(nn.Sequential(*layers, *_conv(before, 1280, 1), nn.ReLU6()), 1280)
    model.head = nn.Linear(1280, 1000)
    return _taught("mobilenetv2", model, rate=4e-3, epochs_at_size=6, epochs=24)


def bert6() -> Source:
    """66 million parameters, sentences of 64 tokens: of ten kinds, each with its own frequent words."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    count = FITTED + SENTENCES
    kinds = rng.integers(0, 10, count)
    frequent = rng.integers(0, WORDS, (10, 40))[kinds[:, None], rng.integers(0, 40, (count, LENGTH))]
    usual = rng.integers(0, WORDS, (count, LENGTH))
    tokens = torch.from_numpy(np.where(rng.random((count, LENGTH)) < 0.7, frequent, usual))
    model = Encoder().eval()
    _fit_head(model, tokens[:FITTED], torch.from_numpy(kinds[:FITTED]))
    return Source(
        name="bert6",
        model=model,
        example_inputs=(tokens[:1],),
        evaluation_inputs=tokens[FITTED:].numpy(),
        calibration_inputs=tokens[:64].numpy(),
    )


def _taught(name: str, model: nn.Module, *, rate: float, epochs_at_size: int, epochs: int = 8) -> Source:
    for size, times, share in (
        (SMALL, epochs, 1.0),
        (SIZE, epochs_at_size, 0.5),
    ):  # convolutions don't mind the size of an image
        data = _coloured(size)
        train(model, data.train_images, data.train_labels, epochs=times, rate=share * rate, change=shifted)
    again = torch.roll(data.images[:AGAIN], (MOVED, MOVED), dims=(2, 3))
    return Source(
        name=name,
        model=model,
        example_inputs=(data.images[:1],),
        evaluation_inputs=torch.cat([data.images, again]).numpy(),
        evaluation_labels=torch.cat([data.labels, data.labels[:AGAIN]]).numpy(),
        calibration_inputs=data.train_images[:100].numpy(),
    )


def _coloured(size: int) -> Digits:
    data = load(size)
    three = [images.expand(-1, 3, -1, -1).contiguous() for images in (data.train_images, data.images)]
    return data._replace(train_images=three[0], images=three[1])


def _fit_head(model: Encoder, tokens: Tensor, kinds: Tensor) -> None:
    """Ridge regression of the kinds on standardised features."""
    with torch.no_grad():
        features = torch.cat([model.features(batch) for batch in tokens.split(16)]).double()
        middle, spread = features.mean(0), features.std(0) + 1e-6
        scaled = (features - middle) / spread
        kernel = scaled @ scaled.T + 0.1 * len(scaled) * torch.eye(len(scaled), dtype=torch.float64)
        weight = (scaled.T @ torch.linalg.solve(kernel, F.one_hot(kinds, 10).double() - 0.1)) / spread[:, None]
        model.head.weight.copy_(weight.T)
        model.head.bias.copy_(0.1 - middle @ weight)


def _conv(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, size, stride, padding=size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after)]
