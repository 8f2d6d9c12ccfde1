"""Task-arithmetic candidates against the reference: ResNet-18, real CIFAR-10 images."""

import copy
import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from sweeps.compute.candidates import FORGET_WEIGHT
from sweeps.compute.gpu import synchronize
from tests.benchmarks.clock import Result, interleaved
from tests.benchmarks.generators import Bench
from unlearn.data import load
from unlearn.early_stop import ValReader
from unlearn.methods.task_vector import CandidateWriter, TaskVector
from unlearn.models import Weights, build
from unlearn.splits import Dataset, Splits
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

ALPHA, RHO = -1.0, 0.9


def resnet() -> nn.Module:
    """ResNet-18 for 32 x 32 images, untrained: a candidate costs the same at any weights."""
    with seeded(0, "bench"):
        model: nn.Module = build("resnet18", (3, 32, 32), 10).eval()
    return model


def nearby(model: nn.Module) -> Weights:
    """Stands in for an expert: every weight moved a little."""
    with seeded(1, "bench"):
        return {name: t + 0.01 * torch.randn_like(t) if t.is_floating_point() else t for name, t in
                model.state_dict().items()}  # fmt: skip


@torch.no_grad()
def rebuilt(original: nn.Module, expert: Weights, alpha: float, rho: float) -> nn.Module:
    """The reference: a new model, tau and quantile of every tensor for each candidate."""
    model, parameters = copy.deepcopy(original), dict(original.named_parameters())
    for name, p in model.named_parameters():
        tau = expert[name] - parameters[name]
        p.copy_(
            parameters[name] + alpha * tau * (tau.abs() >= torch.quantile(tau.abs().flatten(), rho))
        )
    return model


def weights_vs_rebuild(cache: Bench) -> Result:
    """One candidate's weights, reference / ours, and the largest difference of a weight."""
    original = resnet()
    expert = nearby(original)
    surgeon = CandidateWriter(original, TaskVector(original, expert), torch.rand(1, 3, 32, 32))
    slow, fast = interleaved(
        lambda: rebuilt(original, expert, ALPHA, RHO), lambda: surgeon.write(ALPHA, RHO)
    )
    theirs, ours = (
        rebuilt(original, expert, ALPHA, RHO).state_dict(),
        surgeon.write(ALPHA, RHO).state_dict(),
    )
    apart = max((theirs[name] - ours[name]).abs().max().item() for name in theirs)
    return {"ratio": slow / fast, "rebuild_s": slow, "ours_s": fast, "apart": apart}


@torch.no_grad()
def correct(model: nn.Module, images: Tensor) -> Tensor:
    """The answers to `images` (n, 3, 32, 32), in batches of 128."""
    return torch.cat([model(part).argmax(1) for part in images.split(128)])


def candidate_vs_evaluation(cache: Bench) -> Result:
    """A candidate written and evaluated on validation images / the evaluation alone."""
    images = load("cifar10", cache.root).val.pixels()[: cache.count(500)]
    original = resnet()
    surgeon = CandidateWriter(original, TaskVector(original, nearby(original)), images[:16])

    def candidate() -> None:
        surgeon.write(ALPHA, RHO)
        correct(surgeon.folded.refresh(), images)

    whole, alone = interleaved(candidate, lambda: correct(surgeon.folded.model, images))
    return {
        "ratio": whole / alone,
        "candidate_s": whole,
        "evaluation_s": alone,
        "images": len(images),
    }


GRID = list(product([-0.5, -1.0, -1.5, -2.0, -2.5, -3.0], torch.linspace(0.5, 0.99, 20).tolist()))
SLICE = 8  # candidates on which the reference's way is timed


def trained(
    data: Dataset, splits: Splits, cache: Bench, device: str = "cpu"
) -> tuple[Any, Weights]:
    """Reference 5's MobileNetV2 after a short training, and its expert on the forgotten class."""
    with seeded(0, "bench"):
        model: Any = build("mobilenet_v2", data.shape, data.classes, options={"stem": "stock"})
    model = model.to(device)
    plan = Training(cache.count(1500), 64, 2e-3, augment="crop-flip", label_smoothing=0.1)
    model.load_state_dict(fit(model, data.train, plan, stream(0, "original", device=device))[0])
    expert = Training(cache.count(60), 64, 3e-4, "constant")
    generator = stream(0, "expert", device=device)
    return model.eval(), fit(model, splits.train.forget, expert, generator)[0]


def grid_vs_reference(cache: Bench, forget: int = 0, device: str = "cpu") -> Result:
    """120 cells of (alpha, rho) on CIFAR-10, reference / ours.

    The reference: a new model, tau and quantiles per cell, all of test, torch's own layout (timed
    on 8 cells). Ours: one scratch model, val as long as a cell can win, in mixed order as a sweep
    takes them, test once. `same`: ours finds the point that reading all 5,000 val images of each
    cell finds.
    """
    data = load("cifar10", cache.root).to(device)
    splits = data.split([forget])
    original, expert = trained(data, splits, cache, device)
    plain = copy.deepcopy(original)
    plain.layout = torch.contiguous_format
    test, reader = data.test.pixels(), ValReader(splits.val)
    few = splits.val.retain.take(torch.arange(16)).pixels()
    every = GRID[:: len(GRID) // SLICE]
    mixed = [GRID[i] for i in torch.randperm(len(GRID), generator=stream(0, "order")).tolist()]

    def theirs() -> None:
        for alpha, rho in every:
            correct(rebuilt(plain, expert, alpha, rho), test)
        synchronize()

    found: set[tuple[float, float]] = set()

    def ours(race: bool = True) -> None:
        surgeon, bar, best = (
            CandidateWriter(original, TaskVector(original, expert), few),
            -math.inf,
            GRID[0],
        )
        for point in mixed:
            surgeon.write(*point)
            read = reader.run(surgeon.answering(), FORGET_WEIGHT, bar if race else -math.inf)
            value = read.retain - FORGET_WEIGHT * read.forget
            if not read.stopped and value > bar:
                bar, best = value, point
        correct(surgeon.write(*best), test)
        synchronize()
        found.add(best)

    slow, fast = interleaved(theirs, ours)
    slow *= len(GRID) / len(every)
    ((alpha, rho),) = found
    ours(race=False)
    return {"ratio": slow / fast, "reference_s": slow, "ours_s": fast, "alpha": alpha, "rho": rho,
            "same": found == {(alpha, rho)}}  # fmt: skip


BENCHES: dict[str, Callable[[Bench], Result]] = {
    "weights_vs_rebuild": weights_vs_rebuild,
    "candidate_vs_evaluation": candidate_vs_evaluation,
    "grid_vs_reference": grid_vs_reference,
}
