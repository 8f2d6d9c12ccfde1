"""Task arithmetic (arXiv:2212.04089) with a magnitude mask: step away from an expert of the
forgotten class."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearn.errors import lookup, require
from unlearn.knobs import later
from unlearn.methods.base import Method, SearchSpace, Unlearned, map_parameters
from unlearn.methods.task_vector import TAU_NORMS, CandidateWriter, TaskVector
from unlearn.models import Weights
from unlearn.norms import recalibrate
from unlearn.splits import Splits
from unlearn.train import snapshot


@dataclass(frozen=True)
class TaskArithmetic(Method):
    """theta = theta_pre + alpha mask(tau, rho), with tau = theta_expert - theta_pre.

    alpha = 0 is the original, bit for bit; alpha = 1 with rho = 0 is the expert.
    `needs["expert"]` is a `TaskVector`.

    alpha: step along the task vector; below 0 it forgets. In [-100, 100].
    rho: quantile of |tau| in each tensor below which entries are masked to 0, so that this share
        of its weights stays as it is. In [0, 1].
    recalibrate: whether batch norms' running statistics are measured anew on retained training
        images; the reference keeps the original's.
    tau_norm: `none`, or `unit-relative`, which scales tau to the norm of theta_pre, so that alpha
        means the same for every network and expert.
    """

    needs: ClassVar[tuple[str, ...]] = ("expert",)
    closed_form: ClassVar[bool] = True
    space: ClassVar[SearchSpace] = {"alpha": [-8.0, 0.0], "rho": [0.0, 0.99]}
    epoch_space: ClassVar[SearchSpace] = {
        "alpha": [-0.15, 0.0],
        "rho": [0.0, 0.99],
        "tau_norm": ["unit-relative"],
    }

    alpha: float = -1.0
    rho: float = 0.9
    recalibrate: bool = False
    tau_norm: str = later("none")

    def __post_init__(self) -> None:
        lookup("tau_norm", self.tau_norm, TAU_NORMS)
        require(-100 <= self.alpha <= 100, f"alpha must lie in [-100, 100], not {self.alpha}")
        require(0 <= self.rho <= 1, f"rho must lie in [0, 1], not {self.rho}")

    def __call__(
        self, model: Any, splits: Splits, generator: torch.Generator, **needs: Any
    ) -> Unlearned:
        vector: TaskVector = needs["expert"]
        step = self.alpha * vector.scale(self.tau_norm)

        def change(name: str, p: Tensor) -> Tensor:
            return p + step * vector.masked(name, self.rho)

        weights = map_parameters(model, change)
        if self.recalibrate:
            weights = recalibrated(model, weights, splits, generator)
        return Unlearned(weights)

    def write_candidate(
        self, writer: CandidateWriter, splits: Splits, generator: torch.Generator
    ) -> Callable[[Tensor], Tensor]:
        """Write the unlearned model into the writer's scratch copy; return its folded network.

        Equal to `__call__` up to rounding. Valid until the writer writes the next candidate.
        """
        step = self.alpha * writer.vector.scale(self.tau_norm)
        model = writer.write(step, self.rho)
        if self.recalibrate:
            recalibrate(model, splits.train.retain, generator)
        return writer.answering()


def recalibrated(
    model: Any, weights: Weights, splits: Splits, generator: torch.Generator
) -> Weights:
    """Return `weights` with batch norms' running statistics measured on retained training images.

    `model` gives the architecture and stays as it is.
    """
    scratch = copy.deepcopy(model)
    scratch.load_state_dict(weights)
    recalibrate(scratch, splits.train.retain, generator)
    return snapshot(scratch)
