"""A linear probe: is the forgotten class still there in the features, whatever the head says?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.classifiers.base import Attack, beside
from unlearn.errors import require
from unlearn.evaluation import ClassifierEvaluator, Scores
from unlearn.models.base import Classifying
from unlearn.splits import Images
from unlearn.streams import stream


@dataclass(frozen=True)
class LinearProbe(Attack):
    """Fits a new linear head on the frozen features of all classes' training images, forgotten ones included, and
    reports its accuracy on the test images of each part.

    Features are standardised by the training part; the head is a multinomial logistic regression with an L2 `ridge`,
    by L-BFGS of up to 200 steps, on `per_class` images a class. An oracle's features tell an unseen class apart to some
    degree as well: what exceeds its value was kept. A masked head is found out here.
    """

    blind_spot: ClassVar[str] = (
        "a wreck has no features of anything: low on the forgotten class is good news only beside a high one on the "
        "kept classes."
    )
    columns: ClassVar[Mapping[str, type]] = beside(
        {"probe_forget_accuracy": float, "probe_retain_accuracy": float}
    )

    per_class: int = 200
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        require(self.per_class >= 1, f"per_class must be at least 1, not {self.per_class}")
        require(self.ridge > 0, f"ridge must be above 0, not {self.ridge}")

    def run(
        self, evaluator: ClassifierEvaluator, model: Classifying, seed: int, prepared: Any = None
    ) -> Scores:
        """Accuracy of a fresh head on the test images of the forgotten and of the kept classes."""
        train, test = evaluator.splits.train, evaluator.splits.test
        whole = Images(
            torch.cat([train.forget.x, train.retain.x]), torch.cat([train.forget.y, train.retain.y])
        )
        some = self.sample(whole, seed)
        x, y = features(model, some), some.y.to(next(model.parameters()).device)
        mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
        head = fit_head((x - mean) / std, y, evaluator.classes, self.ridge)

        def share(images: Images) -> float:
            answers = head((features(model, images) - mean) / std).argmax(1)
            return (answers == images.y.to(answers.device)).double().mean().item()

        return {
            "probe_forget_accuracy": share(test.forget),
            "probe_retain_accuracy": share(test.retain),
        }

    def sample(self, images: Images, seed: int) -> Images:
        """`per_class` images of every class, drawn from `seed`."""
        order = torch.randperm(len(images), generator=stream(seed, "linear probe")).to(
            images.y.device
        )
        shuffled = images.take(order)
        chosen = [
            (shuffled.y == label).nonzero().squeeze(1)[: self.per_class]
            for label in shuffled.y.unique()
        ]
        return shuffled.take(torch.cat(chosen))


@torch.no_grad()
def features(model: Classifying, images: Images) -> Tensor:
    """What the head sees, double (n, d), on unaugmented images."""
    images = images.to(next(model.parameters()).device)
    return torch.cat([model.features(piece.pixels()) for piece in images.pieces()]).double()


def fit_head(x: Tensor, y: Tensor, classes: int, ridge: float) -> torch.nn.Linear:
    """Minimises mean cross-entropy + ridge / 2 |W|^2 over features `x` (n, d) from 0, so without any randomness."""
    head = torch.nn.utils.skip_init(
        torch.nn.Linear, x.shape[1], classes, device=x.device, dtype=x.dtype
    )
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(x), y) + 0.5 * ridge * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head.requires_grad_(False)
