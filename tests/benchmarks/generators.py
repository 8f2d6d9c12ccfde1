"""How much faster than the references the generator's work is."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sweeps.spec.files import read_documents
from tests.benchmarks.clock import Result, interleaved
from unlearn.data import load
from unlearn.evaluation import draw
from unlearn.fisher.diagonal import diagonal_fisher
from unlearn.fisher.generators import generator_fisher
from unlearn.generators.judges import Judge, build_judge, read, train_judge
from unlearn.methods.selective_amnesia import SelectiveAmnesia
from unlearn.models import Weights, build
from unlearn.models.base import Classifying, Generative
from unlearn.objectives import negative_elbo
from unlearn.splits import Dataset
from unlearn.streams import seeded, stream
from unlearn.train import Schedule, Training, fit


@dataclass(frozen=True)
class Bench:
    """Where the data sets lie, and how much of the work to do (1 = all)."""

    root: Path
    scale: float

    @cached_property
    def dataset(self) -> Dataset:
        """Full MNIST."""
        return load("mnist", self.root)

    def count(self, full: int) -> int:
        """`full` samples or steps, scaled, at least 10."""
        return max(10, round(full * self.scale))

    def model(self) -> Generative:
        with seeded(0, "bench"):
            model: Generative = build("cvae-mlp", self.dataset.shape, self.dataset.classes)
        return model

    def original(self, steps: int = 4000) -> Generative:
        """A trained CVAE to forget from, one that heeds its label."""
        model = self.model()
        plan = Training(self.count(steps), 128, 3e-3, kl_weight=1.5, label_critic=50.0)
        weights, _ = fit(model, self.dataset.train, plan, stream(0, "original"))
        model.load_state_dict(weights)
        return model.eval()

    def judge(self) -> Classifying:
        """The reject-aware judge."""
        with seeded(0, "judge"):
            judge = build_judge(Judge("deep", 0, True), self.dataset.shape, self.dataset.classes)
        plan = Schedule(self.count(1500), 128, 4e-3)
        train_judge(judge, self.dataset.train, plan, stream(0, "judge"), True)
        return judge


def one_by_one(
    model: Generative, n: int, images: Callable[[int], tuple[Tensor, Tensor]]
) -> Weights:
    """The official Fisher loop: one image, one backward pass, one squared gradient per turn."""
    generator = stream(0, "loop")
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for i in range(n):
        x, c = images(i)
        model.zero_grad()
        negative_elbo(model, x, c, generator).sum().backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                total[name] += (p.grad.data**2) / n
    model.zero_grad()
    return total


def drawn(model: Generative) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Draws the model's own images one at a time, as the official loop does."""
    generator = stream(0, "drawn")

    @torch.no_grad()
    def one(i: int) -> tuple[Tensor, Tensor]:
        z = torch.randn(1, model.z_dim, generator=generator)
        c = model.one_hot(torch.randint(model.classes, (1,), generator=generator))
        return model(z, c), c

    return one


@torch.no_grad()
def samples(model: Generative, n: int) -> tuple[Tensor, Tensor]:
    """`n` of the model's own images and their labels."""
    generator = stream(0, "samples")
    z = torch.randn(n, model.z_dim, generator=generator)
    c = model.one_hot(torch.randint(model.classes, (n,), generator=generator))
    return torch.cat([model(*part) for part in zip(z.split(1000), c.split(1000), strict=True)]), c


def apart(model: Generative, x: Tensor, c: Tensor) -> float:
    """Largest relative distance of a tensor of both Fishers on the same images and latents."""
    slow, generator = (
        one_by_one(model, len(x), lambda i: (x[i : i + 1], c[i : i + 1])),
        stream(0, "loop"),
    )
    noise = torch.cat([torch.randn(1, model.z_dim, generator=generator) for _ in range(len(x))])
    fast = diagonal_fisher(model, [lambda: given_noise(model, x, c, noise)])
    apart = [float((fast[name] - slow[name]).norm() / slow[name].norm()) for name in slow]
    return max(apart)


def given_noise(model: Generative, x: Tensor, c: Tensor, noise: Tensor) -> Tensor:
    """The negative ELBO per image with its latent noise handed in."""
    mu, logvar = model.encode(x, c)
    logits = model.decode(mu + (0.5 * logvar).exp() * noise, c)
    pixels = (
        torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
        .flatten(1)
        .sum(1)
    )
    return pixels + 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)


def fisher_vs_loop(cache: Bench) -> Result:
    """The batch-1 loop over 50,000 samples (timed on 500) / ours over all; equal to 1e-5."""
    model, full = cache.original(1000), cache.count(50_000)
    part = min(500, full)
    x, c = samples(model, part)
    loop, ours = interleaved(
        lambda: one_by_one(model, part, drawn(model)),
        lambda: generator_fisher(model, full, stream(0, "fisher")),
    )
    return {
        "ratio": loop * full / part / ours,
        "loop_s": loop * full / part,
        "ours_s": ours,
        "apart": apart(model, x, c),
    }


def fisher_vs_pass(cache: Bench) -> Result:
    """Our Fisher / one plain forward and backward pass over the same batches of 500."""
    model, n = cache.original(1000), cache.count(50_000)
    x, c = samples(model, n)
    parts = list(zip(x.split(500), c.split(500), strict=True))

    def plain() -> None:
        generator = stream(0, "pass")
        for a, b in parts:
            torch.autograd.grad(
                negative_elbo(model, a, b, generator).sum(), list(model.parameters())
            )

    def ours() -> None:
        generator = stream(0, "pass")
        losses = [partial(negative_elbo, model, a, b, generator) for a, b in parts]
        diagonal_fisher(model, losses)

    fisher, floor = interleaved(ours, plain)
    return {"ratio": fisher / floor, "fisher_s": fisher, "pass_s": floor}


NOTHING = 1e-4  # a probability that is a tenth of one image's among 1,000


@torch.no_grad()
def quality(model: Generative, judge: Classifying, forget: int) -> tuple[float, float]:
    """(mean probability of the forgotten class under its label, share of kept images recognised).

    Over 1,000 images per label.
    """
    images = draw(model, range(model.classes), 1000, 0, "bench")
    probabilities = read(judge, images.flatten(0, 1))[0].unflatten(0, images.shape[:2])
    hit = (probabilities.argmax(2) == torch.arange(model.classes)[:, None]).float().mean(1)
    kept = [label for label in range(model.classes) if label != forget]
    return probabilities[forget, :, forget].mean().item(), hit[kept].mean().item()


def forget_vs_official(cache: Bench, forget: int = 0) -> Result:
    """The official 10,000 steps (batch 256, Adam 1e-4, sums; timed on 100) / `sa-fast`."""
    original, judge, splits = cache.original(), cache.judge(), cache.dataset.split([forget])
    fisher = generator_fisher(original, cache.count(50_000), stream(0, "fisher"))
    official: dict[str, Any] = {
        "batch": 256,
        "lr": 1e-4,
        "schedule": "constant",
        "reduction": "sum",
    }
    steps, part = cache.count(10_000), cache.count(100)

    def run(method: SelectiveAmnesia) -> Generative:
        model = copy.deepcopy(original)
        model.load_state_dict(method(original, splits, stream(0, "forget"), fisher=fisher).weights)
        return model.eval()

    knobs = read_documents("sa-fast", [])[0]["unlearn"]
    ours = SelectiveAmnesia(**{**knobs, "steps": cache.count(knobs["steps"])})
    theirs = SelectiveAmnesia(steps=steps, **official)
    slow, fast = interleaved(
        lambda: run(SelectiveAmnesia(steps=part, **official)), lambda: run(ours)
    )
    (p, kept), (p_official, kept_official) = (
        quality(run(ours), judge, forget),
        quality(run(theirs), judge, forget),
    )
    return {
        "ratio": slow * steps / part / fast,
        "official_s": slow * steps / part,
        "ours_s": fast,
        "forget_probability": p,
        "official_forget_probability": p_official,
        "retain_accuracy": kept,
        "official_retain_accuracy": kept_official,
        "as_good": p <= min(0.01, max(p_official, NOTHING)) and kept >= kept_official - 0.005,
    }


@torch.no_grad()
def loss_on_test(model: Generative, cache: Bench) -> float:
    """Mean negative ELBO of the test images, nats."""
    test, generator = cache.dataset.test, stream(0, "elbo")
    batches = zip(test.pixels().split(1000), test.y.split(1000), strict=True)
    return (
        torch.cat([negative_elbo(model, x, model.one_hot(y), generator) for x, y in batches])
        .mean()
        .item()
    )


def train_vs_official(cache: Bench) -> Result:
    """The official recipe (batch 256, Adam 1e-4, 20,000 steps; timed on 100) / ours to its ELBO."""
    steps, part = cache.count(20_000), cache.count(100)

    def run(plan: Training) -> Generative:
        model = cache.model()
        model.load_state_dict(fit(model, cache.dataset.train, plan, stream(0, "train"))[0])
        return model.eval()

    ours = Training(cache.count(2900), 128, 3e-3)
    slow, fast = interleaved(lambda: run(Training(part, 256, 1e-4, "constant")), lambda: run(ours))
    loss, official = (
        loss_on_test(run(ours), cache),
        loss_on_test(run(Training(steps, 256, 1e-4, "constant")), cache),
    )
    return {
        "ratio": slow * steps / part / fast,
        "official_s": slow * steps / part,
        "ours_s": fast,
        "test_loss": loss,
        "official_test_loss": official,
        "as_good": loss <= official,
    }


BENCHES: dict[str, Callable[[Bench], Result]] = {
    "fisher_vs_loop": fisher_vs_loop,
    "fisher_vs_pass": fisher_vs_pass,
    "forget_vs_official": forget_vs_official,
    "train_vs_official": train_vs_official,
}
