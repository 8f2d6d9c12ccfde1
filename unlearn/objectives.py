"""What a model is trained on, per image: the negative ELBO of a generator, the cross-entropy of a classifier."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Generative

Objective = Callable[
    ..., Tensor
]  # (model, x (n, *shape) in [0, 1], labels (n,), generator) -> loss per image (n,)


def negative_elbo(
    model: Generative,
    x: Tensor,
    c: Tensor,
    generator: torch.Generator,
    kl_weight: float = 1.0,
    z_dropout: float = 0.0,
    critic: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Negative ELBO per image (n,), nats: Bernoulli cross-entropy summed over pixels + KL(q(z | x, c) || N(0, I)).

    `x` (n, *shape) in [0, 1] is not binarised; `c` (n, classes); one sample of z, from `generator`. arXiv:1312.6114.
    Three changes make a decoder heed its label when z could tell the class as well: `kl_weight` above 1 (beta-VAE,
    Higgins et al. 2017); `z_dropout`, the share of images whose z is drawn from the prior instead (it blurs); `critic`
    (z, c) -> (n,), added to the loss (see `unlearn.generators.critic`).
    """
    mu, logvar = model.encode(x, c)
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    dropped = None
    if z_dropout > 0:
        dropped = torch.rand(len(mu), 1, generator=generator, device=mu.device) < z_dropout
    return elbo_of_draws(model, x, c, (mu, logvar), noise, dropped, kl_weight, critic)


def elbo_of_draws(
    model: Generative,
    x: Tensor,
    c: Tensor,
    code: tuple[Tensor, Tensor],
    noise: Tensor,
    dropped: Tensor | None = None,
    kl_weight: float = 1.0,
    critic: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """`negative_elbo` of numbers that are drawn already, and of `code`, the mean and log variance
    (n, z_dim) that the encoder gave.

    noise: N(0, I), shape (n, z_dim). dropped: bool (n, 1), whose z is replaced by its noise.
    """
    mu, logvar = code
    z = mu + (0.5 * logvar).exp() * noise
    if dropped is not None:
        z = torch.where(dropped, noise, z)
    logits = model.decode(z, c)
    reconstruction = (
        F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    )
    loss = reconstruction + kl_weight * 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)
    return loss if critic is None else loss + critic(z, c)


def generator_loss(
    model: Generative, x: Tensor, y: Tensor, generator: torch.Generator, **options: Any
) -> Tensor:
    """Negative ELBO per image (n,) in nats, of images `x` under their labels `y` (n,); options of `negative_elbo`."""
    return negative_elbo(model, x, model.one_hot(y), generator, **options)


def classifier_loss(
    model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy per image (n,) in nats, in float32 whatever the logits are; draws nothing from `generator`.

    `label_smoothing`: the share of the target spread evenly over the classes (arXiv:1512.00567).
    """
    return F.cross_entropy(model(x).float(), y, reduction="none", label_smoothing=label_smoothing)


OBJECTIVES: dict[str, Objective] = {"generator": generator_loss, "classifier": classifier_loss}
