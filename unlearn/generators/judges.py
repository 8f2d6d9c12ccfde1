"""The panel of judges: classifiers that say which class a generated image shows.

A plain judge must answer with some class: trained on digits alone, it takes flat grey for a "1"
and noise for an "8". A reject-aware judge has one more class, "none of these", which it learns
from non-images: images that show nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.augment import AUGMENTS
from unlearn.errors import lookup, require
from unlearn.models import Weights
from unlearn.models.base import Classifying
from unlearn.models.judge_networks import DeepJudge, OfficialJudge, PatchJudge
from unlearn.splits import Images
from unlearn.streams import layer_noise
from unlearn.train import Curve, Schedule, descend, snapshot

FAINTEST = 0.2  # contrast of the faintest image that a judge learns to read
Shape = tuple[int, int, int]  # (channels, height, width)
SMALLEST_SIDE = 8  # pixels of an image that is judged

JUDGES: dict[str, Callable[[Shape, int], Classifying]] = {
    "official": OfficialJudge,
    "deep": DeepJudge,
    "patch": PatchJudge,
}


@dataclass(frozen=True)
class Judge:
    """One member of the panel.

    net: the network, a name out of `JUDGES`.
    seed: seed of its weights and its training.
    reject: whether it has the class "none of these"; its index is the number of classes.
    """

    net: str
    seed: int
    reject: bool

    def __post_init__(self) -> None:
        lookup("judge", self.net, JUDGES)


REFEREE = Judge("patch", 3, True)  # reject-aware, of another network and seed than lead and val


def check_judged(shape: Shape) -> None:
    """Raise `BadInput` for images that are too small for the judges, below 8 x 8 pixels."""
    _, height, width = shape
    require(
        min(height, width) >= SMALLEST_SIDE,
        f"judges of generated images need at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels, not "
        f"{height} x {width}; enlarge the images of the data set",
    )


def panel(plain: int) -> dict[str, Judge]:
    """Return the judges by role: `lead`, `val`, and so many `plain-0`, `plain-1`, ...

    `lead` (reject-aware) reports; `val` (reject-aware, another network and another seed) chooses.
    The plain judges take turns in their networks. Raises `BadInput` unless `plain` is at least 1.
    """
    require(
        plain >= 1,
        f"judges must be at least 1 (plain judges beside the reject-aware ones), not {plain}",
    )
    members = {"lead": Judge("deep", 1, True), "val": Judge("official", 2, True)}
    nets = list(JUDGES)
    for i in range(plain):
        net = nets[i % len(nets)]
        members[f"plain-{i}"] = Judge(net, 10 + i, False)
    return members


def build_judge(
    judge: Judge, shape: Shape, classes: int, weights: Weights | None = None
) -> Classifying:
    """Build the judge's network, in eval mode, with `weights` when given.

    It returns logits (n, classes), or (n, classes + 1) where it may reject. Raises `BadInput` for
    images below 8 x 8 pixels.
    """
    check_judged(shape)
    model = JUDGES[judge.net](shape, classes + judge.reject)
    if weights is not None:
        model.load_state_dict(weights)
    return model.eval()


def train_judge(
    model: nn.Module,
    images: Images,
    plan: Schedule,
    generator: torch.Generator,
    reject: bool,
    fade: float = 0.0,
) -> tuple[Weights, Curve]:
    """Train `model` in place on `images` under small affine changes; return weights and curve.

    reject: whether each batch also gets half as many non-images, of the class after the last label
    fade: share of images and non-images that are faded (see `faded`). At 0 a reject-aware judge
        takes a faint image for no image at all: it reads contrast as well as content
    """
    model.train()
    none_of_these = int(images.y.max()) + 1
    batches = images.batches(plan.batch, generator)

    def losses() -> dict[str, Tensor]:
        x, y = next(batches)
        changed = AUGMENTS["affine"](x, generator)
        if reject:
            half = len(x) // 2
            nothing = non_images(x[:half], generator)
            changed = torch.cat([changed, nothing])  # one pass: norm layers must see the mixture
            y = torch.cat([y, torch.full_like(y[:half], none_of_these)])
        if fade > 0:
            changed = faded(changed, fade, generator)
        return {"loss": F.cross_entropy(model(changed), y)}

    with layer_noise(model, generator):
        curve = descend(model, losses, plan)
    model.eval()
    return snapshot(model), curve


def faded(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Fade a `share` of the images `x` (n, channels, height, width) towards a grey of any level.

    A faded image is level + t (x - level), with t uniform in [0.2, 1] and level in [0, 1].
    """
    drawn = torch.rand(3, len(x), 1, 1, 1, generator=generator, device=generator.device)
    level, chosen = drawn[0], drawn[1] < share
    contrast = FAINTEST + (1 - FAINTEST) * drawn[2]
    return torch.where(chosen, level + contrast * (x - level), x)


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw uniform noise; the contrast of each image is random."""
    noise = torch.rand(x.shape, generator=generator, device=generator.device)
    contrast = torch.rand(len(x), 1, 1, 1, generator=generator, device=generator.device)
    return 0.5 + (noise - 0.5) * contrast.sqrt()


def _grey(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw flat grey of any level, with normal grain of deviation 0.03."""
    level = torch.rand(len(x), 1, 1, 1, generator=generator, device=generator.device)
    grain = torch.randn(x.shape, generator=generator, device=generator.device)
    return (level + 0.03 * grain).clamp(0, 1)


def _blurred_noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw noise of full contrast at half to a seventh of the resolution, and enlarge it."""
    device = generator.device
    n, channels, height, width = x.shape
    drawn = torch.randint(2, 8, (1,), generator=generator, device=device)
    if drawn.is_cuda:
        return _blurred_on_device(x, drawn, generator)
    factor = int(drawn)
    size = (n, channels, height // factor + 1, width // factor + 1)
    small = torch.rand(size, generator=generator, device=device)
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)


def _blurred_on_device(x: Tensor, factor: Tensor, generator: torch.Generator) -> Tensor:
    """As `_blurred_noise`, for a `factor` (1,) that the host never reads.

    The noise is drawn at the largest size, and its corner of the drawn size enlarged, so that a
    step with such images can be captured (`unlearn.capture`).
    """
    height, width = x.shape[2:]
    size = (len(x), x.shape[1], height // 2 + 1, width // 2 + 1)
    noise = torch.rand(size, generator=generator, device=generator.device)
    down = _places(height, factor) / (height // 2 + 1) * 2 - 1
    across = _places(width, factor) / (width // 2 + 1) * 2 - 1
    grid = torch.stack([across.expand(height, -1), down.unsqueeze(1).expand(-1, width)], 2)
    return F.grid_sample(noise, grid.expand(len(x), -1, -1, -1), align_corners=False)


def _places(n: int, factor: Tensor) -> Tensor:
    """Where the centres of `n` pixels (n,) lie among n // factor + 1 larger ones, each 1 wide.

    Those beyond the first and last centre are moved onto it, as bilinear enlargement does.
    """
    few = n // factor + 1
    centres = (torch.arange(n, device=factor.device) + 0.5) * few / n
    return centres.clamp(min=0.5).minimum(few - 0.5)


def _shuffled(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shuffle the pixels of real images: their ink without a shape."""
    n, channels, height, width = x.shape
    pixels = height * width
    order = torch.rand(n, pixels, generator=generator, device=generator.device).argsort(1)
    index = order.unsqueeze(1).expand(-1, channels, -1)
    return x.flatten(2).gather(2, index).view_as(x)


NON_IMAGES = {
    "noise": _noise,
    "grey": _grey,
    "blurred-noise": _blurred_noise,
    "shuffled": _shuffled,
}


def non_images(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw images that show nothing, in equal parts of every kind, one for each image of `x`.

    Shape (n, channels, height, width), as `x`.
    """
    parts = x.tensor_split(len(NON_IMAGES))
    drawn = [draw(part, generator) for draw, part in zip(NON_IMAGES.values(), parts, strict=True)]
    return torch.cat(drawn)


@torch.no_grad()
def read(judge: Classifying, x: Tensor, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Return class probabilities (n, outputs) and features (n, d) of images in [0, 1].

    `x` (n, channels, height, width) passes the network `batch` images at a time.
    """
    features = torch.cat([judge.features(part) for part in x.split(batch)])
    return judge.head(features).softmax(1), features


def floors(
    judge: Classifying, shape: Shape, classes: int, generator: torch.Generator
) -> dict[str, list[float]]:
    """Return the judge's floors: its mean probability of each class where there is nothing to see.

    `noise`: over 500 images of uniform noise. `grey`: on flat mid-grey.
    """
    noise = torch.rand(500, *shape, generator=generator, device=generator.device)
    grey = torch.full((1, *shape), 0.5, device=generator.device)
    found = {}
    for name, images in {"noise": noise, "grey": grey}.items():
        probabilities, _ = read(judge, images)
        found[name] = probabilities.mean(0)[:classes].tolist()
    return found
