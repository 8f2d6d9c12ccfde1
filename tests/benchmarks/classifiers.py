"""How much faster than the reference a task-arithmetic candidate is: weights of ResNet-18, real CIFAR-10 images."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.benchmarks.clock import Result, interleaved
from tests.benchmarks.generators import Bench
from unlearn.data import load
from unlearn.methods.task_arithmetic import Surgeon, TaskVector
from unlearn.models import Weights, build
from unlearn.streams import seeded

ALPHA, RHO = -1.0, 0.9


def resnet() -> nn.Module:
    """ResNet-18 for 32 x 32 images; what a candidate costs does not depend on what the weights know."""
    with seeded(0, "bench"):
        return build("resnet18", (3, 32, 32), 10).eval()


def nearby(model: nn.Module) -> Weights:
    """Stands in for an expert: every weight moved a little."""
    with seeded(1, "bench"):
        return {name: t + 0.01 * torch.randn_like(t) if t.is_floating_point() else t for name, t in
                model.state_dict().items()}  # fmt: skip


@torch.no_grad()
def rebuilt(original: nn.Module, expert: Weights, alpha: float, rho: float) -> nn.Module:
    """The reference's way: a new model, a new tau, a new quantile of every tensor for each candidate."""
    model, parameters = copy.deepcopy(original), dict(original.named_parameters())
    for name, p in model.named_parameters():
        tau = expert[name] - parameters[name]
        p.copy_(parameters[name] + alpha * tau * (tau.abs() >= torch.quantile(tau.abs().flatten(), rho)))
    return model


def weights_vs_rebuild(bench: Bench) -> Result:
    """One candidate's weights: clone, quantile and mask anew / ours; the largest difference of a weight beside."""
    original = resnet()
    expert = nearby(original)
    surgeon = Surgeon(original, TaskVector(original, expert))
    slow, fast = interleaved(lambda: rebuilt(original, expert, ALPHA, RHO), lambda: surgeon.operate(ALPHA, RHO))
    theirs, ours = rebuilt(original, expert, ALPHA, RHO).state_dict(), surgeon.operate(ALPHA, RHO).state_dict()
    apart = max((theirs[name] - ours[name]).abs().max().item() for name in theirs)
    return {"ratio": slow / fast, "rebuild_s": slow, "ours_s": fast, "apart": apart}


@torch.no_grad()
def correct(model: nn.Module, images: Tensor) -> Tensor:
    """The answers to `images` (n, 3, 32, 32), in batches of 500."""
    return torch.cat([model(part).argmax(1) for part in images.split(500)])


def candidate_vs_evaluation(bench: Bench) -> Result:
    """A candidate written and evaluated on validation images / the evaluation alone."""
    images = load("cifar10", bench.root).val.pixels()[: bench.count(500)]
    original = resnet()
    surgeon = Surgeon(original, TaskVector(original, nearby(original)))
    whole, alone = interleaved(
        lambda: correct(surgeon.operate(ALPHA, RHO), images), lambda: correct(surgeon.model, images)
    )
    return {"ratio": whole / alone, "candidate_s": whole, "evaluation_s": alone, "images": len(images)}


BENCHES: dict[str, Callable[[Bench], Result]] = {
    "weights_vs_rebuild": weights_vs_rebuild,
    "candidate_vs_evaluation": candidate_vs_evaluation,
}
