"""Robust Amnesia: redraw the weights, relearn the retained classes from the frozen original, and
train every other input of the decoder on the target."""

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import NotFinite, lookup, require
from unlearn.generators.ood import Sizes, decoder_draws
from unlearn.generators.targets import TARGETS, Target
from unlearn.knobs import later
from unlearn.methods.base import (
    OBJECTIVES,
    Losses,
    Method,
    Run,
    StepFunction,
    Unlearned,
    elbo_options,
)
from unlearn.methods.stacked_amnesia import STACKED_TARGETS
from unlearn.methods.stacked_robust import forget_robustly_together
from unlearn.models.base import Generative
from unlearn.models.fresh import fresh
from unlearn.objectives import PLAIN, ElboOptions, negative_elbo
from unlearn.splits import Splits
from unlearn.train import Schedule, descend, snapshot

REPLAYS = {"model": "the frozen original's images", "data": "retained training images"}


@dataclass(frozen=True)
class RobustAmnesia(Method):
    """Minimise a weighted sum of four terms, nats per image (means over the batch, ELBO negative).

    gamma ELBO(x_r, c_r) + distil BCE(x_o; z, c_r) + BCE(u; z, c_f) + closed BCE(u; z_o, c_o)

    Selective Amnesia (arXiv:2305.10120) hides the class: its weights still hold it, and an attacker
    finds a latent and a label that bring it back. Here the weights are drawn anew and learn the
    retained classes from images of the frozen original, x_o = original(z, c_r). The forgotten
    labels c_f, and every (z_o, c_o) that no honest user asks for (mixed labels, labels off the
    simplex, latents outside the prior), learn the target u; the decoder's mean there is mid-grey
    for the targets `noise` and `grey` alike. The cost: labels between two retained classes turn
    grey too. New weights alone (closed = 0) do not help: replayed images hold traces of the class,
    and the attack finds them.

    gamma: weight of the negative ELBO on retained images, at least 0.
    distil: weight of the decoder's cross-entropy to the original's images x_o at the same
        (z, c_r), at least 0.
    closed: weight of the out-of-distribution inputs (z_o, c_o), at least 0.
    reset: weights that are drawn anew before training, `all`, those of the `decoder`, or `none`.
    steps: number of optimiser steps, at least 1.
    batch: images per step of each kind, at least 1; a quarter as many, rounded up, of forgotten
        labels.
    lr: peak learning rate, above 0.
    schedule: course of the learning rate, `one-cycle`, `cosine` or `constant`.
    target: image u, `noise`, `grey` or `class` (see `unlearn.generators.targets`).
    replay: images x_r of the ELBO, retained training images (`data`) or the x_o (`model`), which
        need no data.
    objective: ELBO on retained images, `plain`; or `original`, with the KL weight and z dropout
        that the original was trained with.
    """

    tasks: ClassVar[tuple[str, ...]] = ("generator",)

    gamma: float = 2.0
    distil: float = 1.0
    closed: float = 0.5
    reset: str = "all"
    steps: int = 4000
    batch: int = 96
    lr: float = 8e-3
    schedule: str = "one-cycle"
    target: str = "grey"
    replay: str = "data"
    objective: str = later("plain")

    def __post_init__(self) -> None:
        require(self.gamma >= 0, f"gamma must be at least 0, not {self.gamma}")
        require(self.distil >= 0, f"distil must be at least 0, not {self.distil}")
        require(self.closed >= 0, f"closed must be at least 0, not {self.closed}")
        lookup("reset", self.reset, RESETS)
        lookup("target", self.target, TARGETS)
        lookup("replay", self.replay, REPLAYS)
        lookup("objective", self.objective, OBJECTIVES)
        self.training()

    def training(self) -> Schedule:
        """Return the knobs as a `Schedule`, which checks their ranges."""
        return Schedule(self.steps, self.batch, self.lr, self.schedule)

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        """As `Method`; a `watch` among the keyword arguments is passed to `descend`."""
        student = self.starts_from(model, generator)
        options = elbo_options(self.objective, needs)
        losses = self.loss_terms(model, student, splits, generator, options)
        curve = descend(student, losses, self.training(), watch=needs.get("watch"))
        return Unlearned(snapshot(student), curve)

    def stack_key(self) -> Hashable:
        """All knobs; None where targets are images of the frozen original."""
        return self if self.target in STACKED_TARGETS else None

    @classmethod
    def together(cls, runs: Sequence[Run]) -> list[Unlearned | NotFinite]:
        return forget_robustly_together(runs)

    def starts_from(self, model: Generative, generator: torch.Generator) -> Generative:
        """Return the network that is trained: a copy of `model`, as far as it is not drawn anew."""
        return RESETS[self.reset](model, generator).train()

    @property
    def sizes(self) -> Sizes:
        """How many inputs of each kind the decoder gets per step."""
        return Sizes(self.batch, -(-self.batch // 4), self.batch)

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the decoder's terms, in the order of `sizes`."""
        return {"distil": self.distil, "forget": 1.0, "closed": self.closed}

    def loss_terms(
        self,
        frozen: Generative,
        student: Generative,
        splits: Splits,
        generator: torch.Generator,
        options: ElboOptions = PLAIN,
    ) -> StepFunction:
        """Return the function that computes `replay`, `distil`, `forget` and `closed`.

        options: KL weight and z dropout of the negative ELBO
        """
        forget = splits.train.forget.y.unique()
        retain = splits.train.retain.y.unique()
        sizes, weights = self.sizes, self.weights
        batches = splits.train.retain.to(generator.device).batches(self.batch, generator)
        target = TARGETS[self.target]

        def losses() -> Losses:
            z, c, x = decoder_batch(frozen, forget, retain, sizes, target, generator)
            if self.replay == "data":
                x_r, labels = next(batches)
                c_r = student.one_hot(labels)
            else:
                x_r, c_r = x[: self.batch], c[: self.batch]
            replay = negative_elbo(
                student, x_r, c_r, generator, options.kl_weight, options.z_dropout
            )
            logits = student.decode(z, c)  # one pass for all three kinds of input
            per_pixel = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
            per_image = per_pixel.flatten(1).sum(1)
            found = {"replay": self.gamma * replay.mean()}
            for name, part in zip(weights, per_image.split(sizes), strict=True):
                found[name] = weights[name] * part.mean()
            return found

        return losses


@torch.no_grad()
def decoder_batch(
    frozen: Generative,
    forget: Tensor,
    retain: Tensor,
    sizes: Sizes,
    target: Target,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw inputs of the decoder and the images that it shall draw: z, c, x.

    Shapes (n, z_dim), (n, classes), (n, *shape). First retained labels with the original's images,
    then forgotten labels and out-of-distribution inputs, both with images of `target`.
    """
    z, c, x_target = decoder_draws(frozen, forget, retain, sizes, target, generator)
    x_r = frozen(z[: sizes.retain], c[: sizes.retain])
    return z, c, torch.cat([x_r, x_target])


def reset_decoder(model: Generative, generator: torch.Generator) -> Generative:
    """Return a copy of `model` with new weights in everything that encoding does not use."""
    reset = fresh(model, generator)
    encoder, parameters = encoder_layers(reset), encoder_parameters(reset)
    weights = reset.state_dict()
    for name, tensor in model.state_dict().items():
        layer, _, _ = name.rpartition(".")
        if layer in encoder or name in parameters:
            weights[name] = tensor
    reset.load_state_dict(weights)
    return reset


def encoder_layers(model: Generative) -> set[str]:
    """Return the names of the modules that a call of `model.encode` passes."""
    passed: set[str] = set()
    hooks = []
    for name, layer in model.named_modules():
        hook = layer.register_forward_hook(lambda *_, name=name: passed.add(name))
        hooks.append(hook)
    with torch.no_grad():
        _encode_nothing(model)
    for hook in hooks:
        hook.remove()
    return passed


def encoder_parameters(model: Generative) -> set[str]:
    """Return the names of the trainable parameters that `model.encode` depends on.

    They include those that no layer holds, which `encode` reads itself.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    mu, logvar = _encode_nothing(model)
    total = mu.sum() + logvar.sum()
    if not total.requires_grad:
        return set()
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    return {name for name, grad in zip(trained, gradients, strict=True) if grad is not None}


def _encode_nothing(model: Generative) -> tuple[Tensor, Tensor]:
    """Encode one black image without a label."""
    like = next(model.parameters())
    return model.encode(like.new_zeros(1, *model.shape), like.new_zeros(1, model.classes))


def unchanged(model: Generative, generator: torch.Generator) -> Generative:
    """Return a copy of `model`."""
    return copy.deepcopy(model)


RESETS: dict[str, Callable[[Generative, torch.Generator], Generative]] = {
    "all": fresh,
    "decoder": reset_decoder,
    "none": unchanged,
}
