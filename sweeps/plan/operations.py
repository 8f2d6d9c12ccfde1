"""Count a model's operations per image, and say how long a device takes for them.

The last resort of a cost estimate, for what was never measured: one forward pass of two images on
random weights counts the operations; nothing is trained and no data is read.
"""

from functools import lru_cache
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from sweeps.spec.cells import Cell
from sweeps.spec.recipes import Recipe, architecture
from sweeps.spec.sweep import Knobs
from unlearn.data import source_of
from unlearn.errors import BadInput
from unlearn.generators.judges import JUDGES
from unlearn.methods.iterative import Iterative
from unlearn.models import MODELS, build, library_of
from unlearn.objectives import OBJECTIVES

# Floating-point operations per second that training sustains, and the seconds of a step whatever
# its batch (launches, optimiser): one core of a server, and a data-centre GPU.
SPEED = {"cpu": 3e10, "cuda": 2e13}
STEP_S = {"cpu": 3e-3, "cuda": 1.5e-3}
BACKWARD = 3  # a training step costs three forward passes
READS = {"scrub": 3, "two-stage": 2, "bad-teacher": 3, "salun": 2}  # batches per step
READ = {"full": 20_000, "val": 3_000}  # images that scoring a classifier reads, about
SCORE_S = {"full": 1.0, "val": 0.02}  # seconds of scoring beside the forward passes
ATTACK_S = 10.0  # per attack
TRAIN_IMAGES = {  # without those of val; others are taken to have as many as CIFAR-10
    "mnist5k": 3_500,
    "mnist": 55_000,
    "fashion-mnist": 55_000,
    "cifar10-5k": 4_500,
    "cifar10-5k-coarse": 4_500,
    "svhn": 69_257,
    "tiny-imagenet": 90_000,
}
MOST_IMAGES = 45_000
# Operations per image of 3 x 32 x 32, in 10 classes (their number hardly counts), of networks
# without options. To count anew is to build on the meta device: torch imports its compiler for it.
COUNTED_SHAPE = (3, 32, 32)
COUNTED = {"resnet18": 1_110_845_440, "vgg11_bn": 544_686_080, "mobilenet_v2": 175_952_896}


def check_model(dataset: str, model: str, options: Knobs, batch: int) -> None:
    """Raise `BadInput` where the model cannot take a batch of the data set's images."""
    try:
        _operations(dataset, model, options, min(batch, 2))
    except BadInput:
        raise
    except (RuntimeError, ValueError) as error:
        shape = " x ".join(map(str, source_of(dataset).shape))
        why = " ".join(str(error).split())
        raise BadInput(
            f"model {model} cannot take {batch} images of {dataset}, {shape} each ({why}); "
            "change model or batch"
        ) from error


def operations(dataset: str, model: str, options: Knobs = ()) -> float:
    """Return the floating-point operations of a forward pass in training, per image."""
    return _operations(dataset, model, options, 2)


@lru_cache(256)
def _operations(dataset: str, model: str, options: Knobs, images: int) -> float:
    """Look the operations up, else count them; a batch of one image is always tried."""
    in_table = source_of(dataset).shape == COUNTED_SHAPE and not options and images > 1
    if in_table and model in COUNTED:
        return float(COUNTED[model])
    return count(dataset, model, options, images)


def count(dataset: str, model: str, options: Knobs, images: int) -> float:
    """Count on the meta device, which allocates and computes nothing; else on the CPU.

    What the meta device cannot do (a generator's noise, a user's own kernel) the CPU can; where the
    CPU cannot either, its error is the one to show. Our own networks are counted layer by layer,
    and the small ones on the CPU: torch's counter and its meta device import its compiler, which
    takes seconds.
    """
    if model in JUDGES or model in MODELS:
        small = model in JUDGES or not library_of(model)
        with torch.random.fork_rng(devices=[]), torch.device("cpu" if small else "meta"):
            network = _network(dataset, model, options)
            return count_layers(network, images, source_of(dataset).shape)
    try:
        return count_operations(dataset, model, options, images, "meta")
    except Exception:  # a model of the user's own may raise anything on that device
        return count_operations(dataset, model, options, images, "cpu")


def _network(dataset: str, model: str, options: Knobs) -> Any:
    """Build a network; the caller's context says on which device."""
    source = source_of(dataset)
    if model in JUDGES:
        return JUDGES[model](source.shape, source.classes)
    return build(model, source.shape, source.classes, options=architecture(options))


def count_operations(dataset: str, model: str, options: Knobs, images: int, device: str) -> float:
    """Count with torch's counter, which knows every operation."""
    from torch.utils.flop_counter import FlopCounterMode  # with it comes triton

    source = source_of(dataset)
    generator = torch.Generator().manual_seed(0)
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
        network = _network(dataset, model, options)
        x = torch.zeros((images, *source.shape))
        y = torch.arange(images) % source.classes
        with counter:
            OBJECTIVES[network.task](network.train(), x, y, generator)
    return float(counter.get_total_flops() / images)


LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def count_layers(network: Any, images: int, shape: tuple[int, int, int]) -> float:
    """Count the operations of linear layers and convolutions in a pass, per image: 2 per product.

    network: one of ours, whose other layers hardly count
    images: to pass
    shape: of one image

    Raises `RuntimeError` or `ValueError` where the network cannot take such images.
    """
    counts: list[float] = []

    def note(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        transposed = isinstance(layer, nn.ConvTranspose2d)
        places = inputs[0] if transposed else output  # where a kernel is applied
        weights = layer.weight[0].numel()
        counts.append(2.0 * places.numel() * weights)

    hooks = []
    for layer in network.modules():
        if isinstance(layer, LAYERS):
            hooks.append(layer.register_forward_hook(note))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        x, y = torch.zeros((images, *shape)), torch.zeros(images, dtype=torch.long)
        OBJECTIVES[network.task](network.train(), x, y, generator)
    for hook in hooks:
        hook.remove()
    return sum(counts) / images


def _seconds(flops: float, device: str) -> float:
    return flops / SPEED[device]


def making_seconds(recipe: Recipe, units: float, device: str) -> float:
    """Return the seconds of making an artifact, from its operations."""
    knobs = dict(recipe.knobs)
    per_image = operations(recipe.dataset, recipe.model, recipe.options)
    if recipe.kind == "fisher":
        return units * (_seconds(BACKWARD * per_image, device) + STEP_S[device] / 50)
    batch = 64 * 1.5 if recipe.kind == "judge" else knobs["batch"]
    if knobs.get("expert_epochs"):
        forget, _ = images_of(recipe.dataset, len(recipe.forget))
        units = knobs["expert_epochs"] * ceil(forget / batch)
    step = _seconds(BACKWARD * per_image * batch, device) + STEP_S[device]
    return float(units * step)


def unlearning_seconds(cell: Cell, device: str) -> float:
    """Return the seconds of a cell's unlearning."""
    problem, method = cell.problem, cell.method
    steps = 0 if method.closed_form else steps_of(cell)
    per_image = operations(problem.dataset, problem.model, problem.options)
    batch = getattr(method, "batch", 64)
    step = _seconds(BACKWARD * per_image * batch, device) + STEP_S[device]
    return float(steps * passes(cell) * step)


def steps_of(cell: Cell) -> int:
    """Return the steps of a cell's unlearning, about; a budget in epochs depends on the images."""
    problem, method = cell.problem, cell.method
    if not isinstance(method, Iterative):
        return int(getattr(method, "steps", 0))
    return method.steps_for(*images_of(problem.dataset, len(problem.forget)))


def images_of(dataset: str, forgotten: int) -> tuple[int, int]:
    """Return how many training images are forgotten and retained, about.

    forgotten: number of classes; 0 where the forget set is none, which is taken for a tenth
    """
    images = TRAIN_IMAGES.get(dataset, MOST_IMAGES)
    share = forgotten / source_of(dataset).classes if forgotten else 0.1
    forget = round(images * share)
    return forget, images - forget


def passes(cell: Cell) -> int:
    """Return how many batches a step of the cell's method reads; those that replay read two."""
    return READS.get(cell.method_name, 2 if hasattr(cell.method, "gamma") else 1)


def scoring_seconds(cell: Cell, device: str) -> float:
    """Return the seconds of scoring a cell: forward passes, and what metrics take beside them."""
    problem, how = cell.problem, cell.problem.eval.candidates
    classes = source_of(problem.dataset).classes
    if problem.task == "classifier":
        per_image = operations(problem.dataset, problem.model, problem.options)
        return _seconds(READ[how] * per_image, device) + SCORE_S[how]
    reading = 0.0
    for judge in problem.judges.values():
        reading += operations(problem.dataset, judge.model)
    images = problem.eval.samples * classes
    return _seconds(images * reading, device) + SCORE_S[how]


def attacking_seconds(cell: Cell) -> float:
    """Return the seconds of a cell's attacks, whose cost no table knows: the same for each."""
    return ATTACK_S * len(cell.problem.eval.attacks) * cell.problem.eval.effort
