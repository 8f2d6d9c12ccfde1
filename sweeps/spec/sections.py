"""The sections `train`, `eval` and `resources` of a spec, each checked by itself."""

import json
from dataclasses import dataclass, replace

from unlearn.attacks import Attack, make_attack
from unlearn.data import DATASETS
from unlearn.errors import lookup, require
from unlearn.generators.judges import panel
from unlearn.knobs import later
from unlearn.methods.base import OBJECTIVES
from unlearn.train import SCHEDULES, Training

EXPERT_NORMS = {"original": "the original's running statistics", "batch": "each batch's own"}


@dataclass(frozen=True)
class Train(Training):
    """How originals and oracles are trained, and how experts, Fisher and judges are made.

    An expert is the original fine-tuned on the forget set alone, without label smoothing.

    expert_steps: steps of an expert, at least 1
    expert_lr: its peak learning rate, above 0
    expert_schedule: its learning-rate schedule: `one-cycle`, `cosine` or `constant`
    expert_norms: statistics that its batch norms use: the `original`'s running ones; or, as in the
        references, those of each `batch`, which holds the forgotten class alone, so that the expert
        starts with wrong predictions and learns to correct them
    expert_epochs: its budget as passes over the forget set, in the place of `expert_steps`, at
        least 0; 0 for steps
    expert_accuracy: accuracy on the forget set, in [0, 1], until which it is trained again, each
        time with a schedule of its own and as long, at most 20 times; 0 for once
    experts: how many experts a method gets that uses several, at least 1
    fisher_samples: images over which the Fisher information is averaged, at least 1
    fisher_objective: the loss whose Fisher it is: the `plain` negative ELBO, as the paper has it,
        or the `original`'s, with the weight of its KL term
    judge_steps: training steps of each judge, at least 1
    judge_fade: share of the images that judges learn from at a lower contrast, in [0, 1]; at 0 the
        judge that leads takes a faint digit for none
    """

    expert_steps: int = 60
    expert_lr: float = 1e-4
    expert_schedule: str = "one-cycle"
    expert_norms: str = "original"
    experts: int = 3
    fisher_samples: int = 10_000
    judge_steps: int = 600
    judge_fade: float = later(0.0)
    fisher_objective: str = later("plain")
    expert_epochs: float = later(0.0)
    expert_accuracy: float = later(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("expert_steps", "experts", "fisher_samples", "judge_steps"):
            value = getattr(self, name)
            require(value >= 1, f"train.{name} must be at least 1, not {value}")
        require(self.expert_lr > 0, f"train.expert_lr must be above 0, not {self.expert_lr}")
        require(
            self.expert_epochs >= 0,
            f"train.expert_epochs must be at least 0, not {self.expert_epochs}",
        )
        require(
            0 <= self.expert_accuracy <= 1,
            f"train.expert_accuracy must lie in [0, 1], not {self.expert_accuracy}",
        )
        require(
            0 <= self.judge_fade <= 1,
            f"train.judge_fade must be between 0 and 1, not {self.judge_fade}",
        )
        lookup("train.fisher_objective", self.fisher_objective, OBJECTIVES)
        lookup("train.expert_norms", self.expert_norms, EXPERT_NORMS)
        lookup("train.expert_schedule", self.expert_schedule, SCHEDULES)


CANDIDATES = {"full": "every score of every cell", "val": "val alone, and the chosen cell in full"}


@dataclass(frozen=True)
class Evaluation:
    """How models are scored and attacked.

    samples: images that a generator draws per label, at least 10
    judges: plain judges of a generator, beside the two that can reject an image
    attacks: names of attacks to run
    attack_knobs: attack -> knob -> value, of knobs that differ from their default (held as JSON)
    effort: optimisation steps of attacks on generators, as a multiple of the references', above 0
    candidates: `full` scores every cell in full; `val` reads each cell of a classifier on val
        alone, only as long as it can still win, and then scores the chosen cell of each method,
        model, forget set and seed in a row of its own
    any_forgotten: whether an attack on a generator succeeds with any forgotten class, where several
        are forgotten; else only with the one that the try wanted
    second_oracle: whether to train another oracle, from another seed, and score and attack it
        beside: how far two oracles lie apart is the floor of every distance to the oracle
    referee: data set, of the same images and classes, from which a third reject-aware judge of a
        generator learns: its readings stand in `referee_*`, and intervals span both; "" for none
    """

    samples: int = 1000
    judges: int = 2
    attacks: tuple[str, ...] = ()
    attack_knobs: str = "{}"
    effort: float = 1.0
    candidates: str = "full"
    any_forgotten: bool = later(False)
    second_oracle: bool = later(False)
    referee: str = later("")

    def __post_init__(self) -> None:
        lookup("eval.candidates", self.candidates, CANDIDATES)
        require(self.effort > 0, f"eval.effort must be above 0, not {self.effort}")
        require(self.samples >= 10, f"eval.samples must be at least 10, not {self.samples}")
        panel(self.judges)
        if self.referee:
            lookup("eval.referee", self.referee, DATASETS)

    def attack(self, name: str) -> Attack:
        """Make an attack with the knobs that this evaluation sets."""
        return make_attack(name, json.loads(self.attack_knobs).get(name, {}))


@dataclass(frozen=True)
class Resources:
    """The resources of one trial.

    cpu: cores, above 0; also the number of torch threads
    gpu: GPUs, or a share of one; at least 0
    gpu_auto: whether `gpu` is only what trials start with: where the GPU's memory does not hold a
        cell beside others, cells get twice the share from then on; without a GPU, all run on CPUs
    cells_per_trial: how many cells a trial computes; 0 (`auto`) as many as take about 4 s
    """

    cpu: float = 1
    gpu: float = 0
    gpu_auto: bool = False
    cells_per_trial: int = 0

    def __post_init__(self) -> None:
        require(self.cpu > 0, f"resources.cpu must be above 0, not {self.cpu}")
        require(self.gpu >= 0, f"resources.gpu must be at least 0, not {self.gpu}")
        require(
            self.gpu <= 1 or float(self.gpu).is_integer(),
            f"resources.gpu above 1 must be a whole number, not {self.gpu}; "
            "Ray shares one GPU, never several",
        )
        require(
            not self.gpu_auto or 0 < self.gpu <= 1,
            f"resources.gpu_auto needs a share of one GPU to start with, not gpu: {self.gpu}; "
            "set gpu: auto alone",
        )
        require(
            self.cells_per_trial >= 0,
            f"resources.cells_per_trial must be auto or 1 and more, not {self.cells_per_trial}",
        )

    def where(self, gpus: bool) -> "Resources":
        """Return these resources for a place with or without GPUs."""
        return self if gpus or not self.gpu_auto else replace(self, gpu=0, gpu_auto=False)
