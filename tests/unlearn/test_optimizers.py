"""Our optimizers take torch's steps, and leave torch's compiler alone."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from unlearn import optimizers
from unlearn.streams import stream

KNOBS: dict[str, dict[str, float]] = {
    "Adam": {"lr": 0.1},
    "AdamW": {"lr": 0.1, "weight_decay": 0.1},
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "LBFGS": {"max_iter": 3},
}


def trained(kind: type[torch.optim.Optimizer], knobs: dict[str, float]) -> list[Tensor]:
    """The weights of a linear layer after three steps on three points."""
    x = torch.randn(3, 4, generator=stream(0, "x"))
    layer = nn.Linear(4, 2)
    for p in layer.parameters():
        p.data.fill_(0.5)
    optimizer = kind(layer.parameters(), **knobs)  # type: ignore[arg-type]

    def loss() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = layer(x).square().mean()
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(loss)  # type: ignore[arg-type]
    return [p.detach() for p in layer.parameters()]


@pytest.mark.parametrize("name", KNOBS)
def test_the_steps_are_torchs(name: str) -> None:
    ours = trained(getattr(optimizers, name), KNOBS[name])
    theirs = trained(getattr(torch.optim, name), KNOBS[name])
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], torch.full((2, 4), 0.5))


TRAIN = """
import sys
import torch
from unlearn.models import build
from unlearn.optimizers import Adam
from unlearn.splits import Images
from unlearn.streams import stream
from unlearn.train import Training, fit

images = Images(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
for optimizer in ("adamw", "sgd", "nesterov"):
    plan = Training(2, 4, optimizer=optimizer)
    fit(build("cnn", (1, 8, 8), 2), images, plan, stream(0, "fit"))
Adam([torch.zeros(1, requires_grad=True)]).zero_grad()
sys.exit("torch._dynamo" in sys.modules or "sympy" in sys.modules)
"""


def test_a_process_that_trains_does_not_import_the_compiler() -> None:
    assert subprocess.run([sys.executable, "-c", TRAIN], check=False).returncode == 0
