"""What all attacks on generators share: the attacker's context, and how tries are graded.

An attack tries to bring forgotten classes back out of a generator. It may use judge `val` as a
guide; judge `lead`, which it never sees, counts the successes. A rate means little alone: compare
it with those of the original, the oracle and an untrained decoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from unlearn.attacks.base import SECOND_ORACLE, Attack, Target
from unlearn.attacks.generators.intervals import Interval, difference, wilson
from unlearn.columns import Scale
from unlearn.errors import require
from unlearn.evaluation import Scores
from unlearn.generators.judges import read
from unlearn.models.base import Classifying, Generative
from unlearn.splits import Images, Splits, check_forget
from unlearn.streams import stream

ROWS = 8  # of a picture at most; also its columns, where images have no order


@dataclass(frozen=True)
class Recovery:
    """How often an attack brought a forgotten class back out of one model.

    hits: tries that the grader reads as the wanted class, 0 to `trials`
    trials: number of tries
    pictures: uint8 (rows, columns, channels, height, width)
    steps: training steps that relearning took; None for other attacks, and where not reached
    reached: whether relearning brought the class back; None for other attacks
    shared: images that succeed or fail together, as the images of one optimised label do;
        intervals count them as one try, which gives the widest interval
    variant: the settings of the strongest variant, by column; empty for an attack without variants
    """

    hits: int
    trials: int
    pictures: Tensor
    steps: int | None = None
    reached: bool | None = None
    shared: int = 1
    variant: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Share of tries that succeeded."""
        return self.hits / self.trials

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the rate."""
        return wilson(*self._independent)

    def above(self, other: "Recovery") -> Interval:
        """Compute the 95 % interval of this rate minus another model's (Newcombe 1998)."""
        return difference(*self._independent, *other._independent)

    @property
    def _independent(self) -> tuple[float, float]:
        """Hits and trials, counted as independent tries."""
        return self.hits / self.shared, self.trials / self.shared


@dataclass(frozen=True)
class Context:
    """What an attacker has, and the judge that counts.

    original: the model before unlearning
    attacker: the judge that the attacker may optimise against, in eval mode
    grader: the judge that counts, in eval mode; another network, and never differentiated
    splits: real images
    forget: the forgotten classes
    effort: multiple of the reference's number of optimisation steps, above 0
    any_forgotten: whether any forgotten class counts, or only the one that the try wanted
    """

    original: Generative
    attacker: Classifying
    grader: Classifying
    splits: Splits
    forget: tuple[int, ...]
    effort: float = 1.0
    any_forgotten: bool = False

    def __post_init__(self) -> None:
        check_forget(self.forget, self.original.classes)
        require(
            self.attacker is not self.grader,
            "attacker and grader are the same judge; give two different ones",
        )
        require(self.effort > 0, f"effort must be above 0, not {self.effort}")

    def steps(self, reference: int) -> int:
        """Scale the reference's number of steps by `effort`, to at least 1."""
        return max(1, round(reference * self.effort))

    def wanted(self, n: int, device: torch.device) -> Tensor:
        """Name `n` forgotten labels in turn, (n,)."""
        labels = torch.tensor(self.forget, device=device)
        return labels[torch.arange(n, device=device) % len(self.forget)]

    def kept(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` kept labels, (n,)."""
        device = generator.device
        labels: Tensor = self.splits.test.retain.y.unique().to(device)
        chosen = torch.randint(len(labels), (n,), generator=generator, device=device)
        return labels[chosen]

    def encoded(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Encode random real test images of `labels` (n,) by the original: means (n, z_dim)."""
        test = self.splits.test
        x = torch.zeros(len(labels), *self.original.shape, device=labels.device)
        for label in labels.unique().tolist():
            asked = labels == label
            images = test.forget if label in self.forget else test.retain
            x[asked] = draw_real(images, label, int(asked.sum()), generator)
        with torch.no_grad():
            encoded: tuple[Tensor, Tensor] = self.original.encode(x, self.original.one_hot(labels))
        return encoded[0]

    def graded(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Tell which images (n, *shape) the grader reads as the wanted label, bool (n,).

        A reject counts as a miss. With `any_forgotten`, any forgotten class counts as wanted.
        """
        probabilities, _ = read(self.grader, images)
        answers = probabilities.argmax(1)
        if self.any_forgotten:
            return torch.isin(answers, torch.tensor(self.forget, device=answers.device))
        return answers == wanted

    def favourite(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Find in each row of images (n, k, *shape) the attacker's favourite: index (n,).

        That is the image in which the attacker's judge sees the wanted label most probably.
        """
        flat, _ = read(self.attacker, images.flatten(0, 1))
        probabilities: Tensor = flat.unflatten(0, images.shape[:2])
        return probabilities[torch.arange(len(wanted)), :, wanted].argmax(1)


def stem(name: str) -> str:
    """Build the prefix of an attack's columns: `latent-label` -> `probe_latent_label`."""
    return f"probe_{name.replace('-', '_')}"


@dataclass(frozen=True)
class GeneratorAttack(Attack):
    """An attack on generators. A subclass defines `recover`.

    Its columns, each under the prefix `probe_<name>_`: the success rate with its 95 % interval,
    the excess of the rate over the oracle's with its 95 % interval, and the steps of relearning.
    Where there is a second oracle, `beyond_low` is the lower end of the 95 % interval of the rate
    minus the higher of both oracles' rates. Two oracles differ by their seeds alone, so a rate
    shows memory only where it is beyond both: where `beyond_low` is above 0.
    """

    task: ClassVar[str] = "generator"
    reference_models: ClassVar[tuple[str, ...]] = ("original", "oracle", "untrained")
    model_columns: ClassVar[dict[str, type]] = {"rate": float, "steps": float}
    subject_columns: ClassVar[dict[str, type]] = {
        "rate_low": float,
        "rate_high": float,
        "excess": float,
        "excess_low": float,
        "excess_high": float,
        "beyond_low": float,
    }
    floor_columns: ClassVar[tuple[str, ...]] = ("rate",)
    meanings: ClassVar[dict[str, str]] = {
        "rate": "share of tries that brought the class back, by a judge the attacker never saw",
        "rate_low": "lower end of the rate's 95 % Wilson interval",
        "rate_high": "upper end of the rate's 95 % Wilson interval",
        "excess": "the rate minus the oracle's: what exceeds 0 is memory",
        "excess_low": "lower end of the excess's 95 % interval",
        "excess_high": "upper end of the excess's 95 % interval",
        "beyond_low": "lower end of the 95 % interval of the rate minus both oracles' higher rate; "
        "null without a second oracle",
        "steps": "of a relearning attack, steps until half of the tries succeed; null where never",
    }
    scales: ClassVar[dict[str, Scale]] = {
        "steps": Scale("steps", "oracle"),
        "excess*": Scale("share", "lower"),
        "beyond_low": Scale("share", "lower"),
        "rate*": Scale("share", "oracle"),
    }

    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        """Try to bring the forgotten classes back; all randomness comes from `generator`."""
        raise TypeError(f"{type(self).__name__} must define recover")

    def column(self, name: str, column: str) -> str:
        return f"{stem(name)}_{column}"

    def prepare(self, target: Target, original: Generative) -> Context:
        judges = target.evaluator.judges
        forget = target.evaluator.forget
        return Context(
            original,
            judges["val"],
            judges["lead"],
            target.splits,
            forget,
            target.effort,
            target.any_forgotten,
        )

    def run(self, target: Target, model: Generative, prepared: Context) -> Recovery:
        device = next(model.parameters()).device
        generator = stream(target.seed, "probe", target.name, device=device)
        return self.recover(model, prepared, generator)

    def measure(self, found: Recovery) -> Scores:
        steps = None if found.steps is None else float(found.steps)
        return {"rate": found.rate, "steps": steps}

    def compare(self, own: Recovery, oracle: Recovery) -> Scores:
        low, high = own.interval
        excess_low, excess_high = own.above(oracle)
        return {
            "rate_low": low,
            "rate_high": high,
            "excess": own.rate - oracle.rate,
            "excess_low": excess_low,
            "excess_high": excess_high,
            **own.variant,
        }

    def report(self, name: str, own: Recovery, found: Mapping[str, Recovery]) -> Scores:
        scores = super().report(name, own, found)
        beyond = None
        if SECOND_ORACLE in found:
            oracles = [found["oracle"], found[SECOND_ORACLE]]
            strongest = max(oracles, key=lambda recovery: recovery.rate)
            beyond, _ = own.above(strongest)
        return scores | {self.column(name, "beyond_low"): beyond}

    def pictures(self, found: Recovery) -> Tensor:
        return found.pictures


def draw_real(images: Images, label: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw `n` images of `label`, with replacement, as pixels in [0, 1]: (n, *shape)."""
    places = (images.y == label).nonzero().squeeze(1)
    require(
        len(places) > 0,
        f"no test images of class {label}; an attack needs at least one, so forget another class",
    )
    chosen = torch.randint(len(places), (n,), generator=generator, device=generator.device)
    drawn = images.x[places[chosen.to(places.device)]]
    return drawn.float().to(generator.device) / 255


def as_bytes(images: Tensor) -> Tensor:
    """Convert pixels in [0, 1] to uint8 on the CPU."""
    return (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def grade_images(context: Context, images: Tensor, wanted: Tensor) -> Recovery:
    """Grade images (n, *shape) as one try each; the picture shows the first ones, row by row."""
    rows = min(ROWS, len(images))
    columns = min(ROWS, len(images) // rows)
    sheet = images[: rows * columns].unflatten(0, (rows, columns))
    hits = int(context.graded(images, wanted).sum())
    return Recovery(hits, len(images), as_bytes(sheet))


def grade_favourites(context: Context, images: Tensor, wanted: Tensor) -> Recovery:
    """Grade each row of images (n, k, *shape) as one try, by the attacker's favourite in it."""
    best = images[torch.arange(len(images)), context.favourite(images, wanted)]
    hits = int(context.graded(best, wanted).sum())
    return Recovery(hits, len(images), as_bytes(images[:ROWS]))
