"""Linear probe: is the forgotten class still in the features, whatever the head answers?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.base import Attack, Target, check_at_least, check_positive
from unlearn.columns import Scale
from unlearn.evaluation import Scores
from unlearn.models.base import Classifying
from unlearn.optimizers import LBFGS
from unlearn.splits import Images
from unlearn.streams import stream

STEPS = 200  # of L-BFGS, at most
SMALLEST_STD = 1e-6  # a feature that never changes is divided by this


@dataclass(frozen=True)
class LinearProbe(Attack):
    """Fit a new linear head on the frozen features; report its accuracy on test images per part.

    The head learns from training images of all classes, forgotten ones included. Features are
    standardised by these images. The head is a multinomial logistic regression with an L2 penalty,
    fitted by up to 200 steps of L-BFGS.

    An oracle's features also separate an unseen class to some degree: what exceeds the oracle's
    value was kept. The probe finds out a masked head.

    probe_forget_accuracy: the new head's accuracy on test-forget, a share
    probe_retain_accuracy: the new head's accuracy on test-retain, a share

    per_class: training images per class, at least 1
    ridge: weight of the L2 penalty on the head's weights, above 0
    """

    task: ClassVar[str] = "classifier"
    model_columns: ClassVar[Mapping[str, type]] = {
        "probe_forget_accuracy": float,
        "probe_retain_accuracy": float,
    }
    scales: ClassVar[Mapping[str, Scale]] = {
        "probe_forget_accuracy": Scale("share", "oracle"),
        "probe_retain_accuracy": Scale("share", "higher"),
    }
    floor_columns: ClassVar[tuple[str, ...]] = ("probe_forget_accuracy", "probe_retain_accuracy")
    blind_spot: ClassVar[str] = (
        "a wreck has no features of anything: low on the forgotten class is good news only beside "
        "a high one on the kept classes."
    )

    per_class: int = 200
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        check_at_least(1, self, "per_class")
        check_positive(self, "ridge")

    def run(self, target: Target, model: Classifying, prepared: Any = None) -> Scores:
        """Measure a new head's accuracy on test images of the forgotten and the kept classes."""
        train, test = target.splits.train, target.splits.test
        x = torch.cat([train.forget.x, train.retain.x])
        y = torch.cat([train.forget.y, train.retain.y])
        known = self.sample(Images(x, y), target.seed)
        # L-BFGS asks for a number after every kernel, for which a shared GPU lets it wait.
        seen = features(model, known).cpu()
        mean, std = seen.mean(0), seen.std(0).clamp(min=SMALLEST_STD)
        head = fit_head((seen - mean) / std, known.y.cpu(), target.evaluator.classes, self.ridge)

        def accuracy(images: Images) -> float:
            answers = head((features(model, images).cpu() - mean) / std).argmax(1)
            right = answers == images.y.cpu()
            return float(right.double().mean().item())

        return {
            "probe_forget_accuracy": accuracy(test.forget),
            "probe_retain_accuracy": accuracy(test.retain),
        }

    def sample(self, images: Images, seed: int) -> Images:
        """Draw `per_class` images of every class, from `seed`."""
        order = torch.randperm(len(images), generator=stream(seed, "linear probe"))
        shuffled = images.take(order.to(images.y.device))
        chosen = []
        for label in shuffled.y.unique():
            places = (shuffled.y == label).nonzero().squeeze(1)
            chosen.append(places[: self.per_class])
        return shuffled.take(torch.cat(chosen))


@torch.no_grad()
def features(model: Classifying, images: Images) -> Tensor:
    """Compute the head's input on unaugmented images, double (n, d)."""
    images = images.to(next(model.parameters()).device)
    seen = [model.features(piece.pixels()) for piece in images.pieces()]
    return torch.cat(seen).double()


def fit_head(x: Tensor, y: Tensor, classes: int, ridge: float) -> torch.nn.Linear:
    """Minimise mean cross-entropy + ridge / 2 |W|^2 over features `x` (n, d) and labels `y` (n,).

    The head starts at 0, so the fit needs no randomness.
    """
    head: torch.nn.Linear = torch.nn.utils.skip_init(
        torch.nn.Linear, x.shape[1], classes, device=x.device, dtype=x.dtype
    )
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimizer = LBFGS(head.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = 0.5 * ridge * head.weight.square().sum()
        loss: Tensor = F.cross_entropy(head(x), y) + penalty
        loss.backward()
        return loss

    optimizer.step(closure)
    return head.requires_grad_(False)
