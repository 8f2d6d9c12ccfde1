"""Probe A of seed 002: it owns images of the original and looks for the closest ones the subject can still draw."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attacks.generators.base import Context, Outcome, images_outcome
from unlearn.attacks.generators.optimise import minimise
from unlearn.generators.regularisers import total_variation
from unlearn.models.base import Generative

SAMPLES, PROTOTYPES, STEPS = 512, 8, 800
LR_Z, LR_LABEL, W_TV, W_Z = 0.06, 0.1, 0.02, 1e-3
LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def sharpness(x: Tensor) -> Tensor:
    """Mean squared Laplacian of the mean over channels, per image (n,)."""
    kernel = torch.tensor(LAPLACE, dtype=x.dtype, device=x.device).view(1, 1, 3, 3)
    return F.conv2d(x.mean(1, keepdim=True), kernel).square().flatten(1).mean(1)


@torch.no_grad()
def prototypes(original: Generative, label: int, generator: torch.Generator) -> Tensor:
    """The 8 sharpest of 512 images of `label` by the original, (8, *shape)."""
    z = torch.randn(SAMPLES, original.z_dim, generator=generator, device=generator.device)
    images = original(z, original.one_hot(torch.full((SAMPLES,), label, device=generator.device)))
    return images[sharpness(images).topk(PROTOTYPES).indices]


def probe(subject: Generative, context: Context, generator: torch.Generator) -> Outcome:
    """`restarts` starts (6 in the reference), 800 Adam steps on z (0.06) and label logits (0.1): mean squared distance
    to the nearest prototype + 0.02 total variation + 0.001 mean z^2. No judge is climbed; judge B grades."""
    device, n = generator.device, context.restarts
    wanted = context.wanted(n, device)
    owned = torch.stack(
        [prototypes(context.original, label, generator) for label in context.forget]
    )
    aims = owned[torch.arange(n, device=device) % len(owned)].flatten(2)  # (n, 8, pixels)
    z = torch.randn(n, subject.z_dim, generator=generator, device=device)
    logits = torch.randn(n, subject.classes, generator=generator, device=device)

    def loss() -> Tensor:
        x = subject(z, logits.softmax(1))
        nearest = (x.flatten(1).unsqueeze(1) - aims).square().mean(2).amin(1)
        return nearest + W_TV * total_variation(x) + W_Z * z.square().mean(1)

    minimise({z: LR_Z, logits: LR_LABEL}, loss, context.steps(STEPS))
    with torch.no_grad():
        return images_outcome(context, subject(z, logits.softmax(1)), wanted)
