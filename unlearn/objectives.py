"""Training losses per image: a generator's negative ELBO, a classifier's cross-entropy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Generative


@dataclass(frozen=True)
class ElboOptions:
    """Options of `negative_elbo` that a method takes over from the original's training.

    kl_weight: weight of the KL term
    z_dropout: share of images whose z is drawn from the prior instead
    """

    kl_weight: float = 1.0
    z_dropout: float = 0.0


PLAIN = ElboOptions()

# (model, images (n, *shape) in [0, 1], labels (n,), generator) -> loss per image (n,)
Objective = Callable[..., Tensor]


def negative_elbo(
    model: Generative,
    x: Tensor,
    c: Tensor,
    generator: torch.Generator,
    kl_weight: float = 1.0,
    z_dropout: float = 0.0,
    critic: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Compute the negative ELBO per image (n,), nats (arXiv:1312.6114).

    Bernoulli cross-entropy summed over pixels, plus kl_weight * KL(q(z | x, c) || N(0, I)), with
    one sample of z. The last three options make a decoder use its label where z could tell the
    class as well.

    x: images (n, *shape) in [0, 1], not binarised
    c: labels (n, classes), one-hot or soft
    generator: draws z
    kl_weight: weight of the KL term; above 1 is the beta-VAE (Higgins et al. 2017)
    z_dropout: share of images whose z is drawn from the prior instead, in [0, 1); blurs the images
    critic: (z, c) -> (n,), added to the loss (see `unlearn.generators.critic`)
    """
    mu, logvar = map(float32_of_bf16, model.encode(x, c))
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
    mu, logvar = map(float32_of_bf16, code)
    z = mu + (0.5 * logvar).exp() * noise
    if dropped is not None:
        z = torch.where(dropped, noise, z)
    logits = float32_of_bf16(model.decode(z, c))
    pixel_losses = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    reconstruction = pixel_losses.flatten(1).sum(1)
    kl_terms = mu.square() + logvar.exp() - 1 - logvar
    loss = reconstruction + kl_weight * 0.5 * kl_terms.sum(1)
    return loss if critic is None else loss + critic(z, c)


def float32_of_bf16(tensor: Tensor) -> Tensor:
    """Return what autocast computed in bf16 as float32, in which losses and draws are taken; other
    tensors as they are."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def generator_loss(
    model: Generative, x: Tensor, y: Tensor, generator: torch.Generator, **options: Any
) -> Tensor:
    """Compute the negative ELBO per image (n,), nats, of images `x` under their labels `y` (n,).

    options: those of `negative_elbo`
    """
    return negative_elbo(model, x, model.one_hot(y), generator, **options)


def classifier_loss(
    model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator, label_smoothing: float = 0.0
) -> Tensor:
    """Compute the cross-entropy per image (n,), nats, in float32 whatever the logits' dtype.

    generator: not used; a classifier's loss draws nothing
    label_smoothing: share of the target that is spread evenly over the classes, in [0, 1)
        (arXiv:1512.00567)
    """
    logits = model(x).float()
    return F.cross_entropy(logits, y, reduction="none", label_smoothing=label_smoothing)


OBJECTIVES: dict[str, Objective] = {"generator": generator_loss, "classifier": classifier_loss}
