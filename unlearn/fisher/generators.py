"""The diagonal Fisher information of a generator, from its own samples."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn.errors import require
from unlearn.fisher.diagonal import diagonal_fisher
from unlearn.fisher.per_sample import formulas_give_gradients, per_sample_fisher
from unlearn.models import Weights
from unlearn.models.base import Generative
from unlearn.objectives import elbo_of_draws, negative_elbo


def generator_fisher(
    model: Generative,
    samples: int,
    generator: torch.Generator,
    batch: int = 500,
    kl_weight: float = 1.0,
) -> Weights:
    """Compute Selective Amnesia's Fisher diagonal (arXiv:2305.10120, section 4), by parameter name.

    The squared gradient of the one-sample negative ELBO (nats per image), averaged over samples
    x = decoder mean of (z, c), z ~ N(0, I), c uniform over all labels. It does not depend on what
    is forgotten. Uses the formulas of `diagonal_fisher` where they hold for the model; elsewhere
    one gradient per sample, which is as exact and slower.

    samples: images drawn from the model, at least 1
    generator: draws z, c and the noise of the ELBO
    batch: images per pass; affects speed and memory, and which noise a sample gets
    kl_weight: weight of the KL term; 1 is the paper's likelihood, that of the original's training
        makes the Fisher the curvature of what was trained
    """
    sizes = list(_batch_sizes(samples, batch))
    if not _formulas_hold(model, generator):
        return per_sample_fisher(_Elbo(model), (_draws(model, n, generator) for n in sizes))

    def losses(n: int) -> Callable[[], Tensor]:
        x, c = _own_samples(model, n, generator)
        return lambda: negative_elbo(model, x, c, generator, kl_weight)

    return diagonal_fisher(model, (losses(n) for n in sizes))


def _formulas_hold(model: Generative, generator: torch.Generator) -> bool:
    """Tell whether the layers' formulas give the true gradient on one sample; draws nothing."""
    x, c = _own_samples(model, 1, _copy(generator))
    return formulas_give_gradients(model, lambda: negative_elbo(model, x, c, _copy(generator)))


def _copy(generator: torch.Generator) -> torch.Generator:
    """Return a generator that draws the same numbers."""
    return torch.Generator(generator.device).set_state(generator.get_state())


def _draws(model: Generative, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw n images x of the model, their labels c and the noise (n, z_dim) of their ELBO."""
    x, c = _own_samples(model, n, generator)
    with torch.no_grad():
        mu, _ = model.encode(x, c)
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return x, c, noise


class _Elbo(nn.Module):
    """A generator's mean negative ELBO of images `x` under labels `c`, for noise that is drawn."""

    def __init__(self, model: Generative) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, c: Tensor, noise: Tensor) -> Tensor:
        return elbo_of_draws(self.model, x, c, self.model.encode(x, c), noise).mean()


def batch_mean_fisher(
    model: Generative, samples: int, generator: torch.Generator, batch: int = 500
) -> Weights:
    """Compute the Fisher diagonal as seed 001 does, for parity only: it is too small.

    It squares gradients that are already averaged over `batch` samples, which makes it too small by
    another factor in every layer. At batch = 1 it equals `generator_fisher`, whose arguments it
    takes.
    """
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    sizes = list(_batch_sizes(samples, batch))
    require(len(sizes) > 0, "Fisher of no samples; give at least one")
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for n in sizes:
        x, c = _own_samples(model, n, generator)
        loss = negative_elbo(model, x, c, generator).mean()
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += 0 if gradient is None else gradient.square() / len(sizes)
    return total


def _batch_sizes(samples: int, batch: int) -> Iterator[int]:
    """Yield `batch` again and again, then what is left of `samples`."""
    for start in range(0, samples, batch):
        yield min(batch, samples - start)


def _own_samples(model: Generative, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw n images (n, *shape) from the model under uniform labels c (n, classes)."""
    device = next(model.parameters()).device
    z = torch.randn(n, model.z_dim, generator=generator, device=device)
    labels = torch.randint(model.classes, (n,), generator=generator, device=device)
    c = model.one_hot(labels)
    with torch.no_grad():
        return model(z, c), c
