"""A multi-layer perceptron on measurements of cell nuclei: tables, not images.

    edgelift build builder/examples/mlp.py:breast_cancer --target x86-64 --budget 1.5

The data is scikit-learn's `load_breast_cancer` (569 patients, 30 measurements each). 369 of them judge: no
budget under 1.03 points can be shown to hold with so few, hence the `--budget`.
"""

import numpy as np
import torch
from learning import train
from sklearn.datasets import load_breast_cancer
from torch import nn

from edgelift_builder import Source

TRAINING = 200


def breast_cancer() -> Source:
    """`x: float32[N, 30]`, standardised → scores `float32[N, 2]`; 82 thousand parameters."""
    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.target))
    table, labels = data.data[order], torch.tensor(data.target[order])
    known = table[:TRAINING]
    x = torch.tensor((table - known.mean(0)) / known.std(0), dtype=torch.float32)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(30, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 32),
        nn.ReLU(),
        nn.Linear(32, 2),
    )
    return Source(
        name="breast-cancer",
        model=train(model, x[:TRAINING], labels[:TRAINING], epochs=40),
        example_inputs=(x[:1],),
        evaluation_inputs=x[TRAINING:].numpy(),
        evaluation_labels=labels[TRAINING:].numpy(),
        calibration_inputs=x[:TRAINING].numpy(),
        fine_tune=lambda changed: train(changed, x[:TRAINING], labels[:TRAINING], epochs=10),
    )
