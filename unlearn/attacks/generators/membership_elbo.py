"""Membership by ELBO: does the generator explain forgotten images better than unseen ones?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import check_at_least
from unlearn.attacks.generators.base import ROWS, Context, GeneratorAttack, Recovery, as_bytes
from unlearn.errors import require
from unlearn.evaluation import evenly_spaced
from unlearn.metrics.efficacy import rate_at
from unlearn.models.base import Generative
from unlearn.objectives import negative_elbo
from unlearn.splits import Images


@dataclass(frozen=True)
class MembershipElbo(GeneratorAttack):
    """Count forgotten training images whose ELBO is above that of most unseen images of the class.

    The reconstruction attack on variational autoencoders of arXiv:1906.03006, with the ELBO in
    place of the reconstruction error. A try is one forgotten training image; it succeeds where its
    ELBO under its own label, averaged over `draws` samples of z, is above that of all but a share
    of `false_positives` of the test images of its class. So a model without memory of single images
    has a rate of about `false_positives`, and so should the oracle; no judge takes part. The
    picture shows reconstructions of these images.

    images: most training images and test images per class, at least 2; evenly spaced
    draws: samples of z per image, at least 1
    false_positives: share of unseen images that may pass for members, above 0, below 1
    """

    images: int = 500
    draws: int = 8
    false_positives: float = 0.05

    def __post_init__(self) -> None:
        check_at_least(2, self, "images")
        check_at_least(1, self, "draws")
        require(
            0 < self.false_positives < 1,
            f"false_positives must lie between 0 and 1, not {self.false_positives}",
        )

    @torch.no_grad()
    def recover(
        self, subject: Generative, context: Context, generator: torch.Generator
    ) -> Recovery:
        hits = tries = 0
        shown = []
        for label in context.forget:
            members = self._some(context.splits.train.forget, label)
            strangers = self._some(context.splits.test.forget, label)
            own, others = (self.bounds(subject, part, generator) for part in (members, strangers))
            hits += round(rate_at(own, others, self.false_positives) * len(own))
            tries += len(own)
            few = members.take(torch.arange(min(ROWS, len(members)), device=members.y.device))
            shown.append(_reconstructions(subject, few.to(generator.device)))
        return Recovery(hits, tries, torch.stack(_alike(shown)))

    def _some(self, images: Images, label: int) -> Images:
        own = images.take(images.y == label)
        return own.take(evenly_spaced(len(own), self.images).to(own.y.device))

    def bounds(self, model: Generative, images: Images, generator: torch.Generator) -> Tensor:
        """Estimate the ELBO of every image under its label, nats, (n,)."""
        images = images.to(generator.device)
        x, c = images.pixels(), model.one_hot(images.y)
        total = torch.zeros(len(images), device=x.device)
        for _ in range(self.draws):
            total -= negative_elbo(model, x, c, generator)
        return total / self.draws


def _reconstructions(model: Generative, images: Images) -> Tensor:
    c = model.one_hot(images.y)
    mean, _ = model.encode(images.pixels(), c)
    return as_bytes(model(mean, c))


def _alike(rows: list[Tensor]) -> list[Tensor]:
    """Cut rows of images to one length."""
    shortest = min(len(row) for row in rows)
    return [row[:shortest] for row in rows]
