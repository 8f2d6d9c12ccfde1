"""The panel of judges that reads generated images: who leads, who chooses, who stands beside, what each says of noise.

A plain judge must answer with some class: trained on digits alone, it reads flat grey as a "1" and noise as an "8".
A reject-aware judge has one more class, "none of these", learned from images that show nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.augment import AUGMENTS
from unlearn.data import Images
from unlearn.errors import lookup, require
from unlearn.models import Weights
from unlearn.models.base import Classifying
from unlearn.models.judges import DeepJudge, OfficialJudge, PatchJudge
from unlearn.streams import layer_noise
from unlearn.train import Curve, Schedule, descend, snapshot

JUDGES: dict[str, Callable[[tuple[int, int, int], int], Classifying]] = {
    "official": OfficialJudge,
    "deep": DeepJudge,
    "patch": PatchJudge,
}


@dataclass(frozen=True)
class Judge:
    """One seat on the panel. `reject` adds the class "none of these", its index is the number of classes."""

    net: str
    seed: int
    reject: bool

    def __post_init__(self) -> None:
        lookup("judge", self.net, JUDGES)


def panel(plain: int) -> dict[str, Judge]:
    """`lead` (reject-aware, reports), `val` (reject-aware, another network and seed, chooses), `plain-0` ..."""
    require(
        plain >= 1,
        f"judges must be at least 1 (plain judges beside the reject-aware ones), not {plain}",
    )
    nets = list(JUDGES)
    beside = {f"plain-{i}": Judge(nets[i % len(nets)], 10 + i, False) for i in range(plain)}
    return {"lead": Judge("deep", 1, True), "val": Judge("official", 2, True), **beside}


def build_judge(
    judge: Judge, shape: tuple[int, int, int], classes: int, weights: Weights | None = None
) -> Classifying:
    """The judge's network in eval mode: logits (n, classes), or (n, classes + 1) where it may reject."""
    model = JUDGES[judge.net](shape, classes + judge.reject)
    if weights is not None:
        model.load_state_dict(weights)
    return model.eval()


def train_judge(
    model: nn.Module, images: Images, plan: Schedule, generator: torch.Generator, reject: bool
) -> tuple[Weights, Curve]:
    """Train `model` in place on slightly moved images; where it may reject, each batch gets half as many non-images."""
    model.train()
    none_of_these = int(images.y.max()) + 1
    batches = images.batches(plan.batch, generator)

    def terms() -> dict[str, Tensor]:
        x, y = next(batches)
        moved = AUGMENTS["affine"](x, generator)
        if reject:
            nothing = non_images(x[: len(x) // 2], generator)
            moved = torch.cat([moved, nothing])  # one pass: norm layers must see the mixture
            y = torch.cat([y, torch.full_like(y[: len(nothing)], none_of_these)])
        return {"loss": F.cross_entropy(model(moved), y)}

    with layer_noise(model, generator):
        curve = descend(model, terms, plan)
    model.eval()
    return snapshot(model), curve


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform noise, each image pulled towards grey by a random amount."""
    noise = torch.rand(x.shape, generator=generator, device=generator.device)
    contrast = torch.rand(len(x), 1, 1, 1, generator=generator, device=generator.device)
    return 0.5 + (noise - 0.5) * contrast.sqrt()


def _grey(x: Tensor, generator: torch.Generator) -> Tensor:
    """Flat grey at any level, with a little grain."""
    level = torch.rand(len(x), 1, 1, 1, generator=generator, device=generator.device)
    grain = torch.randn(x.shape, generator=generator, device=generator.device)
    return (level + 0.03 * grain).clamp(0, 1)


def _blurred_noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Noise at half to an eighth of the resolution, enlarged, full contrast."""
    drawn = torch.randint(2, 8, (1,), generator=generator, device=generator.device)
    if drawn.is_cuda:
        return _blurred_on_device(x, drawn, generator)
    factor = int(drawn)
    small = torch.rand(
        len(x),
        x.shape[1],
        x.shape[2] // factor + 1,
        x.shape[3] // factor + 1,
        generator=generator,
        device=generator.device,
    )
    return F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)


def _blurred_on_device(x: Tensor, factor: Tensor, generator: torch.Generator) -> Tensor:
    """As `_blurred_noise`, for a `factor` (1,) that the host never reads: the noise is drawn at the
    largest size, and its corner of the drawn size enlarged."""
    height, width = x.shape[2:]
    size = (len(x), x.shape[1], height // 2 + 1, width // 2 + 1)
    noise = torch.rand(size, generator=generator, device=generator.device)
    down, across = (_places(n, factor) / (n // 2 + 1) * 2 - 1 for n in (height, width))
    grid = torch.stack([across.expand(height, -1), down.unsqueeze(1).expand(-1, width)], 2)
    return F.grid_sample(noise, grid.expand(len(x), -1, -1, -1), align_corners=False)


def _places(n: int, factor: Tensor) -> Tensor:
    """Where the centres of `n` pixels (n,) lie among n // factor + 1 larger ones, each 1 wide; those
    beyond the first and last centre are moved onto it, as bilinear enlargement does."""
    few = n // factor + 1
    centres = (torch.arange(n, device=factor.device) + 0.5) * few / n
    return centres.clamp(min=0.5).minimum(few - 0.5)


def _shuffled(x: Tensor, generator: torch.Generator) -> Tensor:
    """Real images with their pixels shuffled: the right ink, no shape."""
    order = torch.rand(
        len(x), x[0, 0].numel(), generator=generator, device=generator.device
    ).argsort(1)
    return x.flatten(2).gather(2, order.unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)


NON_IMAGES = {
    "noise": _noise,
    "grey": _grey,
    "blurred-noise": _blurred_noise,
    "shuffled": _shuffled,
}


def non_images(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images that show nothing, in equal parts of every kind, shaped like `x` (n, channels, height, width)."""
    parts = x.tensor_split(len(NON_IMAGES))
    return torch.cat(
        [make(part, generator) for make, part in zip(NON_IMAGES.values(), parts, strict=True)]
    )


@torch.no_grad()
def read(judge: Classifying, x: Tensor, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Class probabilities (n, outputs) and features (n, d) of images `x` (n, channels, height, width) in [0, 1]."""
    features = torch.cat([judge.features(part) for part in x.split(batch)])
    return judge.head(features).softmax(1), features


def floors(
    judge: Classifying, shape: tuple[int, int, int], classes: int, generator: torch.Generator
) -> dict[str, list[float]]:
    """What the judge reads where there is nothing: mean probability a class on 500 noise images, and on mid-grey."""
    noise = torch.rand(500, *shape, generator=generator, device=generator.device)
    grey = torch.full((1, *shape), 0.5, device=generator.device)
    return {
        name: read(judge, x)[0].mean(0)[:classes].tolist()
        for name, x in (("noise", noise), ("grey", grey))
    }
