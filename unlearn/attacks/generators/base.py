"""What every probe is given and returns. A probe tries to bring forgotten classes back out of a generator."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.generators.intervals import Interval, difference, wilson
from unlearn.errors import require
from unlearn.generators.judges import read
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Images, Splits, check_forget

ROWS = 8  # most rows, and columns of unordered images, of a probe's picture


@dataclass(frozen=True)
class Outcome:
    """`hits` of `trials` tries brought a forgotten class back, as the grader reads them.

    pictures uint8 (rows, columns, channels, height, width). `steps`: of relearning, how many it took; None where it is
    not asked, or not reached (then `reached` is False). `shared`: images that stand or fall together, as those of one
    optimised label do: intervals count them as one try, which is the widest that they can be.
    """

    hits: int
    trials: int
    pictures: Tensor
    steps: int | None = None
    reached: bool | None = None
    shared: int = 1

    @property
    def rate(self) -> float:
        """Share of successful tries."""
        return self.hits / self.trials

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the rate."""
        return wilson(*self._independent)

    def above(self, other: "Outcome") -> Interval:
        """95 % interval of this rate minus another model's (Newcombe 1998)."""
        return difference(*self._independent, *other._independent)

    @property
    def _independent(self) -> tuple[float, float]:
        return self.hits / self.shared, self.trials / self.shared


@dataclass(frozen=True)
class Context:
    """What an attacker has: the original, a judge to climb (`attacker`), real images; and the judge that counts.

    `grader` must be another network than `attacker`: it never gives a gradient. Both are in eval mode. `trials` images
    are graded where nothing is optimised, `restarts` starts where something is; `effort` times the references' number
    of optimisation steps.
    """

    original: Generative
    attacker: Classifying
    grader: Classifying
    splits: Splits
    forget: tuple[int, ...]
    trials: int = 200
    restarts: int = 48
    effort: float = 1.0

    def __post_init__(self) -> None:
        check_forget(self.forget, self.original.classes)
        require(
            self.attacker is not self.grader,
            "attacker and grader are the same judge; give two different ones",
        )
        require(self.trials >= 1, f"trials must be at least 1, not {self.trials}")
        require(self.restarts >= 1, f"restarts must be at least 1, not {self.restarts}")
        require(self.effort > 0, f"effort must be above 0, not {self.effort}")

    def steps(self, reference: int) -> int:
        """The reference's number of steps times `effort`, at least 1."""
        return max(1, round(reference * self.effort))

    def wanted(self, n: int, device: torch.device) -> Tensor:
        """`n` forgotten labels in turn, (n,)."""
        return torch.tensor(self.forget, device=device)[
            torch.arange(n, device=device) % len(self.forget)
        ]

    def kept(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` kept labels at random, (n,)."""
        labels = self.splits.test.retain.y.unique().to(generator.device)
        return labels[
            torch.randint(len(labels), (n,), generator=generator, device=generator.device)
        ]

    def encoded(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Where the original's encoder puts real test images of `labels` (n,): means (n, z_dim)."""
        test = self.splits.test
        x = torch.zeros(len(labels), *self.original.shape, device=labels.device)
        for label in labels.unique().tolist():
            asked = labels == label
            x[asked] = some(
                test.forget if label in self.forget else test.retain,
                label,
                int(asked.sum()),
                generator,
            )
        with torch.no_grad():
            return self.original.encode(x, self.original.one_hot(labels))[0]

    def graded(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Which images (n, *shape) the grader reads as the wanted label, bool (n,); a reject is a miss."""
        return read(self.grader, images)[0].argmax(1) == wanted

    def favourite(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Of each row of images (n, k, *shape), the one the attacker's judge likes best: index (n,)."""
        probabilities = read(self.attacker, images.flatten(0, 1))[0].unflatten(0, images.shape[:2])
        return probabilities[torch.arange(len(wanted)), :, wanted].argmax(1)


Probe = Callable[[Generative, Context, torch.Generator], Outcome]


def some(images: Images, label: int, n: int, generator: torch.Generator) -> Tensor:
    """`n` random images of `label` as pixels in [0, 1], with repeats: (n, *shape)."""
    places = (images.y == label).nonzero().squeeze(1)
    require(len(places) > 0, f"no test images of class {label}; a probe needs at least one")
    chosen = torch.randint(len(places), (n,), generator=generator, device=generator.device)
    return images.x[places[chosen.to(places.device)]].float().to(generator.device) / 255


def _bytes(images: Tensor) -> Tensor:
    return (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def images_outcome(context: Context, images: Tensor, wanted: Tensor) -> Outcome:
    """Grade images (n, *shape), one try each; its picture holds the first ones, row by row."""
    rows = min(ROWS, len(images))
    columns = min(ROWS, len(images) // rows)
    sheet = images[: rows * columns].unflatten(0, (rows, columns))
    return Outcome(int(context.graded(images, wanted).sum()), len(images), _bytes(sheet))


def choices_outcome(context: Context, images: Tensor, wanted: Tensor) -> Outcome:
    """Each row of images (n, k, *shape) is one try: the attacker shows its favourite, the grader counts that one."""
    best = images[torch.arange(len(images)), context.favourite(images, wanted)]
    return Outcome(int(context.graded(best, wanted).sum()), len(images), _bytes(images[:ROWS]))
