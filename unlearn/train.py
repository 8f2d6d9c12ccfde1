"""Gradient descent: originals, oracles, experts, judges and iterative methods use `descend`."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.augment import AUGMENTS
from unlearn.capture import captured
from unlearn.device_optimizers import DEVICE_OPTIMIZERS
from unlearn.errors import NotFinite, lookup, require
from unlearn.generators.critic import LabelCritic
from unlearn.models import Weights
from unlearn.moving_average import MovingAverage
from unlearn.norms import batch_norms
from unlearn.objectives import OBJECTIVES, Objective
from unlearn.optimizers import SGD, AdamW
from unlearn.schedules import PEAK_AT, RATES, one_cycle_length
from unlearn.splits import Images
from unlearn.streams import globally, layer_noise

Curve = dict[str, list[float]]  # "step" and one list a loss term
Log = list[tuple[int, dict[str, Tensor]]]  # steps taken, and the terms of the last one
Watch = Callable[[int, nn.Module], Any]
LOG_POINTS = 100


@dataclass(frozen=True)
class Schedule:
    """How weights move.

    steps: optimiser steps, at least 1
    batch: images per step, at least 1
    lr: peak learning rate, above 0
    schedule: `one-cycle` (arXiv:1708.07120), `cosine` (arXiv:1608.03983, no restarts) or `constant`
    weight_decay: at least 0; with `adamw` it is decoupled from the gradient
    optimizer: `adamw` (arXiv:1711.05101; Adam at `weight_decay` 0), or `sgd` with momentum .9,
        which one-cycle moves from .95 to .85 and back, or `nesterov`, the same with Nesterov's
        momentum
    """

    steps: int = 1000
    batch: int = 64
    lr: float = 1e-3
    schedule: str = "one-cycle"
    weight_decay: float = 0.0
    optimizer: str = "adamw"

    def __post_init__(self) -> None:
        require(self.weight_decay >= 0, f"weight_decay must be at least 0, not {self.weight_decay}")
        require(self.steps >= 1, f"steps must be at least 1, not {self.steps}")
        require(self.batch >= 1, f"batch must be at least 1, not {self.batch}")
        require(self.lr > 0, f"lr must be above 0, not {self.lr}")
        lookup("schedule", self.schedule, SCHEDULES)
        lookup("optimizer", self.optimizer, OPTIMIZERS)


@dataclass(frozen=True)
class Training(Schedule):
    """How an original, oracle or expert is trained: a schedule, and options of its objective.

    augment: augmentation of every batch, a key of `AUGMENTS`
    kl_weight: generators: weight of the KL divergence, at least 0; above 1 (beta-VAE) the decoder
        heeds its label more
    z_dropout: generators: share of images whose z is drawn from the prior, in [0, 1); the decoder
        heeds its label more, and blurs
    label_critic: generators: weight of the critic that keeps the label out of z (`LabelCritic`), at
        least 0; 0 for none
    label_smoothing: classifiers: in [0, 1)
    ema: decay of an exponential moving average of all weights and statistics, which is what
        training then returns, in [0, 1); 0 for none. In early steps t it is (1 + t) / (10 + t), if
        that is less, so that a short training does not return where it started
    precision: `fp32`, or `bf16` autocast with float32 weights
    channels_last: whether tensors have that memory format, for networks of convolutions
    """

    augment: str = "none"
    kl_weight: float = 1.0
    z_dropout: float = 0.0
    label_critic: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    precision: str = "fp32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        lookup("augmentation", self.augment, AUGMENTS)
        require(self.kl_weight >= 0, f"kl_weight must be at least 0, not {self.kl_weight}")
        require(0 <= self.z_dropout < 1, f"z_dropout must lie in [0, 1), not {self.z_dropout}")
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must lie in [0, 1), not {self.label_smoothing}",
        )
        require(0 <= self.ema < 1, f"ema must lie in [0, 1), not {self.ema}")
        lookup("precision", self.precision, PRECISIONS)
        require(self.label_critic >= 0, f"label_critic must be at least 0, not {self.label_critic}")


def _one_cycle(
    optimizer: torch.optim.Optimizer, plan: Schedule
) -> torch.optim.lr_scheduler.LRScheduler:
    total = one_cycle_length(plan.steps)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.lr, total_steps=total, pct_start=PEAK_AT
    )


def _cosine(
    optimizer: torch.optim.Optimizer, plan: Schedule
) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.steps)


def _constant(
    optimizer: torch.optim.Optimizer, plan: Schedule
) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def _adamw(parameters: list[nn.Parameter], plan: Schedule) -> torch.optim.Optimizer:
    return AdamW(parameters, lr=plan.lr, weight_decay=plan.weight_decay, fused=True)


def _sgd(parameters: list[nn.Parameter], plan: Schedule) -> torch.optim.Optimizer:
    return SGD(parameters, plan.lr, momentum=0.9, weight_decay=plan.weight_decay, fused=True)


def _nesterov(parameters: list[nn.Parameter], plan: Schedule) -> torch.optim.Optimizer:
    decay = plan.weight_decay
    return SGD(parameters, plan.lr, momentum=0.9, weight_decay=decay, nesterov=True, fused=True)


PRECISIONS = {"fp32": "as it is", "bf16": "autocast"}
SCHEDULES = {"one-cycle": _one_cycle, "cosine": _cosine, "constant": _constant}
OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd, "nesterov": _nesterov}


def rates(plan: Schedule) -> Iterator[tuple[float, float]]:
    """Yield learning rate and momentum (AdamW: beta 1) per step, as torch's schedules set them."""
    return RATES[plan.schedule](plan.steps, plan.lr)


def _mover(model: nn.Module, plan: Schedule) -> Callable[[], None]:
    """Return the function that moves the weights of `model` one step down their gradients."""
    parameters = list(model.parameters())
    if parameters[0].is_cuda:
        kind, cycles = DEVICE_OPTIMIZERS[plan.optimizer], plan.schedule == "one-cycle"
        return kind(parameters, rates(plan), plan.weight_decay, cycles)
    optimizer = OPTIMIZERS[plan.optimizer](parameters, plan)
    scheduler = SCHEDULES[plan.schedule](optimizer, plan)

    def move() -> None:
        optimizer.step()
        scheduler.step()

    return move


def descend(
    model: nn.Module,
    terms: Callable[[], dict[str, Tensor]],
    plan: Schedule,
    add_gradients: Callable[[], dict[str, Tensor]] | None = None,
    watch: Watch | None = None,
    after: Callable[[], None] | None = None,
) -> Curve:
    """Train `model` in place on the sum of `terms()`; return the curve of every term.

    terms: draws a batch and returns named scalars
    plan: steps, optimizer and schedule
    add_gradients: runs after the backward pass, adds to `.grad` directly and returns the terms that
        it stands for
    watch: called with (step, model) before the first step and after each; it may look, but must
        change nothing and draw nothing from the run's generator
    after: runs when the weights have moved, as part of the step

    The curve has up to 100 steps. Raises `NotFinite` and never returns a broken model.

    On a CUDA device the step runs as a CUDA graph where it can (`unlearn.capture`). A step
    (`terms`, `add_gradients`, `after`) must therefore take what changes on the host from step to
    step through `unlearn.feeds`.
    """
    infinite = not_finite(model)
    logged = logged_steps(model, terms, plan, add_gradients, watch, after)
    return finite_curve(logged, model, infinite)


def logged_steps(
    model: nn.Module,
    terms: Callable[[], dict[str, Tensor]],
    plan: Schedule,
    add_gradients: Callable[[], dict[str, Tensor]] | None = None,
    watch: Watch | None = None,
    after: Callable[[], None] | None = None,
) -> Log:
    """Train `model` as `descend` does; return the terms on the device, finite or not."""
    device = next(model.parameters()).device
    move = _mover(model, plan)

    def step() -> dict[str, Tensor]:
        for p in model.parameters():
            p.grad = None
        losses = terms()
        torch.stack(list(losses.values())).sum().backward()
        if add_gradients is not None:
            losses = {**losses, **add_gradients()}
        move()
        if after is not None:
            after()
        return losses

    with captured(step, plan.steps, model, device) as take:
        return _run(take, model, plan.steps, watch)


def _run(
    step: Callable[[], dict[str, Tensor]], model: nn.Module, steps: int, watch: Watch | None
) -> Log:
    """Take `steps` steps; return the terms of up to 100 of them, with the steps taken so far."""
    every = max(1, steps // LOG_POINTS)
    logged: Log = []
    if watch is not None:
        watch(0, model)
    for number in range(steps):
        losses = step()
        if watch is not None:
            watch(number + 1, model)
        if number % every == 0 or number == steps - 1:
            logged.append((number + 1, {k: loss.detach().clone() for k, loss in losses.items()}))
    return logged


def not_finite(model: nn.Module) -> frozenset[str]:
    """Name what in `model` is not finite and is not trained, such as a mask of -inf."""
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    found = set()
    for name, tensor in model.state_dict().items():
        if name not in trained and not torch.isfinite(tensor).all():
            found.add(name)
    return frozenset(found)


def finite_curve(logged: Log, model: nn.Module, infinite: frozenset[str] = frozenset()) -> Curve:
    """Copy the logged terms to the host; raise `NotFinite` where a term or weight is not finite.

    infinite: names of tensors that were not finite before training, which are not judged
    """
    curve: Curve = {"step": [float(step) for step, _ in logged]}
    for name in logged[0][1]:
        curve[name] = torch.stack([losses[name] for _, losses in logged]).double().tolist()
        for (step, _), value in zip(logged, curve[name], strict=True):
            if not torch.isfinite(torch.tensor(value)):
                raise NotFinite(f"loss term {name!r} is {value} at step {step}; lower lr or steps")
    for name, tensor in model.state_dict().items():
        if name not in infinite and not torch.isfinite(tensor).all():
            raise NotFinite(f"weights {name!r} are not finite after training; lower lr or steps")
    return curve


def fit(
    model: Any, images: Images, plan: Training, generator: torch.Generator, steady: bool = False
) -> tuple[Weights, Curve]:
    """Train a copy of `model` on `images` under its task's objective; return its weights and the
    loss curve per image.

    Batches, augmentation, dropout and latent noise all come from `generator`; device and dtype from
    the model. `steady` leaves batch norms at the model's running statistics, for images of one
    class, which cannot normalise themselves.
    """
    pupil = copy.deepcopy(model).train()
    for norm in batch_norms(pupil) if steady else ():
        norm.eval()
    layout = layout_of(plan.channels_last)
    pupil.to(memory_format=layout)
    batches = images.to(next(pupil.parameters()).device).batches(plan.batch, generator)
    critic = make_critic(pupil, plan, generator)
    objective = training_objective(pupil, plan, critic)

    def terms() -> dict[str, Tensor]:
        x, y = next(batches)
        x = AUGMENTS[plan.augment](x, generator).to(memory_format=layout)
        with autocast(x.device, plan.precision):
            return {"loss": objective(pupil, x, y, generator).mean()}

    average = MovingAverage(pupil, plan.ema) if plan.ema else None
    moving = pupil if critic is None else nn.ModuleList([pupil, critic])
    with layer_noise(pupil, generator):
        curve = descend(moving, terms, plan, after=average)
    return snapshot(pupil if average is None else average.mean), curve


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which networks on `device` compute in a precision of `PRECISIONS`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def layout_of(channels_last: bool) -> torch.memory_format:
    """Return the memory format of a network's weights and its images; as they are by default."""
    return torch.channels_last if channels_last else torch.preserve_format


def make_critic(model: Any, plan: Training, generator: torch.Generator) -> LabelCritic | None:
    """The critic that a generator's plan asks for, its first weights from `generator`; most plans
    ask for none."""
    if model.task != "generator" or plan.label_critic == 0:
        return None
    with globally(generator):
        return LabelCritic(model.z_dim, model.classes, plan.label_critic).to(generator.device)


def training_objective(model: Any, plan: Training, critic: LabelCritic | None = None) -> Objective:
    """The task's objective with the plan's options in it."""
    if model.task == "generator":
        return partial(
            OBJECTIVES["generator"],
            kl_weight=plan.kl_weight,
            z_dropout=plan.z_dropout,
            critic=critic,
        )
    return partial(OBJECTIVES[model.task], label_smoothing=plan.label_smoothing)


def snapshot(model: nn.Module) -> Weights:
    """A detached, contiguous copy of the model's weights."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
