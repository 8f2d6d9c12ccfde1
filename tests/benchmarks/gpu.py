"""How much faster a captured step is than the same step launched from Python; needs a CUDA
device."""

import time
from collections.abc import Callable

import torch
from torch import nn

from sweeps.spec.parse import PRESETS
from tests.benchmarks.classifiers import grid_vs_reference
from tests.benchmarks.clock import Result, interleaved
from tests.benchmarks.generators import Bench
from unlearn.capture import eager_steps
from unlearn.data import load
from unlearn.methods import make_method
from unlearn.methods.base import Run
from unlearn.models import build
from unlearn.splits import Images
from unlearn.stacked import fit_together
from unlearn.streams import seeded, stream
from unlearn.train import Training, fit

CVAE = {"batch": 128, "lr": 3e-3, "kl_weight": 1.5, "label_critic": 50.0}
RESNET = {  # as `baselines-cifar10` trains it
    "batch": 128,
    "lr": 2e-3,
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "ema": 0.998,
    "augment": "crop-flip",
    "precision": "bf16",
    "channels_last": True,
}


def on_device(model: nn.Module, images: Images, plan: Training) -> Result:
    """Seconds of one training captured and eager, side by side; steps a second of both."""
    model, images = model.cuda(), images.to("cuda")

    def train() -> None:
        fit(model, images, plan, stream(0, "train", device="cuda"))
        torch.cuda.synchronize()

    def eager() -> None:
        with eager_steps():
            train()

    train()
    slow, fast = interleaved(eager, train)
    return {
        "ratio": slow / fast,
        "eager_steps_per_s": plan.steps / slow,
        "captured_steps_per_s": plan.steps / fast,
        "steps": plan.steps,
        "device": torch.cuda.get_device_name(),
    }


def captured_vs_eager_cvae(cache: Bench) -> Result:
    """A CVAE's training on MNIST, launched from Python / as a CUDA graph."""
    plan = Training(cache.count(1000), **CVAE)  # type: ignore[arg-type]
    return on_device(cache.model(), cache.dataset.train, plan)


def captured_vs_eager_resnet18(cache: Bench) -> Result:
    """ResNet-18's training on images of CIFAR-10's shape, launched from Python / as a CUDA
    graph."""
    pixels = torch.randint(256, (20_000, 3, 32, 32), generator=stream(0, "pixels"))
    images = Images(pixels.to(torch.uint8), torch.arange(20_000) % 10)
    with seeded(0, "bench"):
        model = build("resnet18", (3, 32, 32), 10)
    plan = Training(cache.count(600), **RESNET)  # type: ignore[arg-type]
    return on_device(model, images, plan)


def stacked_vs_single(
    single: Callable[[], None], together: Callable[[], None], steps: int, members: int
) -> Result:
    """Compare `members` single runs with one stacked run; rates are model steps per second.

    `ratio` is against steps launched from Python, `ratio_captured` against captured ones.
    """

    def eager() -> None:
        with eager_steps():
            single()

    together()
    slow, captured, stacked = interleaved(eager, single, together)
    return {
        "ratio": slow * members / stacked,
        "ratio_captured": captured * members / stacked,
        "stacked_model_steps_per_s": steps * members / stacked,
        "members": members,
        "device": torch.cuda.get_device_name(),
    }


def stacked_vs_single_cvae(cache: Bench, members: int = 32) -> Result:
    """CVAEs trained on MNIST one by one / as one program of `members`, model steps per second."""
    images, plan = cache.dataset.train.to("cuda"), Training(cache.count(300), **CVAE)  # type: ignore[arg-type]
    models = [cache.model().cuda() for _ in range(members)]

    def single() -> None:
        fit(models[0], images, plan, stream(0, "train", device="cuda"))
        torch.cuda.synchronize()

    def together() -> None:
        generators = [stream(seed, "train", device="cuda") for seed in range(members)]
        fit_together(models, [images] * members, plan, generators)
        torch.cuda.synchronize()

    return stacked_vs_single(single, together, plan.steps, members)


def stacked_vs_single_amnesia(cache: Bench, members: int = 32) -> Result:
    """Selective Amnesia of a CVAE one by one / of `members` as one program, as
    `stacked_vs_single_cvae`."""
    data, steps = cache.dataset.to("cuda"), cache.count(300)
    model = cache.model().cuda()
    fisher = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    splits = [data.split((label,)) for label in range(10)]

    def run(member: int) -> Run:
        method = make_method("selective-amnesia", {"steps": steps, "lam": 10.0 * (member + 1)})
        generator = stream(member, "unlearn", device="cuda")
        return Run(method, model, splits[member % 10], generator, {"fisher": fisher})

    def single() -> None:
        own = run(0)
        own.method(own.model, own.splits, own.generator, fisher=fisher)
        torch.cuda.synchronize()

    def together() -> None:
        runs = [run(member) for member in range(members)]
        type(runs[0].method).together(runs)
        torch.cuda.synchronize()

    return stacked_vs_single(single, together, steps, members)


def preset_full_resnet18(cache: Bench) -> Result:
    """ResNet-18 trained on CIFAR-10 by the preset `full`: seconds, and accuracy on val and test."""
    data = load("cifar10", cache.root).to("cuda")
    with seeded(0, "original", "resnet18"):
        model = build("resnet18", data.shape, data.classes).cuda()
    settings = dict(PRESETS["full"]["resnet18"])
    plan = Training(**{**settings, "steps": cache.count(settings["steps"])})
    torch.cuda.synchronize()
    started = time.perf_counter()
    weights, _ = fit(model, data.train, plan, stream(0, "original", "train", device="cuda"))
    torch.cuda.synchronize()
    taken = time.perf_counter() - started
    model.load_state_dict(weights)
    return {
        "seconds": taken,
        "val_accuracy": accuracy_of(model, data.val),
        "test_accuracy": accuracy_of(model, data.test),
        "images_per_s": plan.steps * plan.batch / taken,
        "device": torch.cuda.get_device_name(),
    }


def grid_vs_reference_cuda(cache: Bench) -> Result:
    """`grid_vs_reference`, both sides on the GPU."""
    return {**grid_vs_reference(cache, device="cuda"), "device": torch.cuda.get_device_name()}


@torch.no_grad()
def accuracy_of(model: nn.Module, images: Images) -> float:
    """Share of the images that the model names right."""
    model.eval()
    right = sum(
        int((model(piece.pixels()).argmax(1) == piece.y).sum()) for piece in images.pieces()
    )
    return right / len(images)


BENCHES: dict[str, Callable[[Bench], Result]] = {}
if torch.cuda.is_available():
    BENCHES = {
        "captured_vs_eager_cvae": captured_vs_eager_cvae,
        "captured_vs_eager_resnet18": captured_vs_eager_resnet18,
        "stacked_vs_single_cvae": stacked_vs_single_cvae,
        "stacked_vs_single_amnesia": stacked_vs_single_amnesia,
        "preset_full_resnet18": preset_full_resnet18,
        "grid_vs_reference_cuda": grid_vs_reference_cuda,
    }
