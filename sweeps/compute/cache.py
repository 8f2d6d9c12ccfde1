"""The cache of one worker process: data, models, judges, evidence, kept between cells.

Artifacts come from the store and are verified as they are loaded.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from sweeps.compute.loans import LentModel, LentWeights
from sweeps.spec.cells import Cell, Problem
from sweeps.spec.recipes import Recipe, architecture
from sweeps.spec.sweep import FILES
from unlearn.artifacts import Store
from unlearn.data import load
from unlearn.evaluation import ClassifierEvaluator, Evaluator, GeneratorEvaluator
from unlearn.forget_sets import parse_subset, split_subset
from unlearn.generators.judges import Judge, build_judge
from unlearn.methods.task_vector import CandidateWriter, TaskVector
from unlearn.metrics import References
from unlearn.models import Weights, build
from unlearn.splits import Dataset, Splits

FOLDING_IMAGES = 16  # on which a network with folded batch norms is checked


class WorkerCache:
    """Loads what cells need by recipe and keeps the last few of each kind.

    Models and weights are lent: inside of `lending`, a method or an attack may leave marks on them,
    which are gone at its end.

    store: where artifacts lie
    data_root: folder of the data sets
    device: `cpu` or `cuda`
    """

    def __init__(self, store: Store, data_root: str, device: str) -> None:
        self.store, self.data_root, self.device = store, data_root, device
        self.dataset = lru_cache(2)(self._dataset)
        self._lent: dict[int, LentModel | LentWeights] = {}
        self._kept_weights = lru_cache(16)(self._lent_weights)
        self._kept_model = lru_cache(32)(self._lent_model)
        self.splits = lru_cache(16)(self._splits)
        self.evaluator = lru_cache(32)(self._evaluator)
        self.evidence = lru_cache(8)(self._evidence)
        self.references = lru_cache(8)(self._references)
        self.vector = lru_cache(4)(self._vector)
        self.writer = lru_cache(2)(self._writer)
        self.seconds = lru_cache(64)(self._seconds)
        self.keep = lru_cache(128)(self._keep)

    def _dataset(self, name: str) -> Dataset:
        return load(name, Path(self.data_root)).to(self.device)

    def _splits(
        self, name: str, forget: tuple[int, ...], subset: str = "", draw: int = 0
    ) -> Splits:
        data = self.dataset(name)
        return split_subset(data, parse_subset(subset), draw) if subset else data.split(forget)

    def _weights(self, recipe: Recipe) -> Weights:
        stored = self.store.load(recipe.kind, recipe.key)
        return {name: tensor.to(self.device) for name, tensor in stored.items()}

    def weights(self, recipe: Recipe) -> Weights:
        """Return the artifact's tensors by name, on the device; only to be read."""
        lent = self._kept_weights(recipe)
        self._lent[id(lent)] = lent
        return dict(lent.tensors)

    def _lent_weights(self, recipe: Recipe) -> LentWeights:
        return LentWeights(self._weights(recipe), lambda: self._weights(recipe))

    def model(self, recipe: Recipe) -> Any:
        """Return the artifact's network, in eval mode; only to be read."""
        model, lent = self._kept_model(recipe)
        self._lent[id(lent)] = lent
        return model

    def _lent_model(self, recipe: Recipe) -> tuple[Any, LentModel]:
        model = self.build(recipe, self._weights(recipe))
        return model, LentModel(model, lambda: self._weights(recipe))

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Restore what is lent inside, at the end, whatever was done to it."""
        outer, self._lent = self._lent, {}
        try:
            yield
        finally:
            for lent in self._lent.values():
                lent.restore()
            self._lent = outer

    def build(self, recipe: Recipe, weights: Weights | None = None) -> Any:
        """Return the network that the recipe names, on the device, in eval mode.

        Without `weights`, its weights are random, or come from the user's file: an original reads
        the options `weights` and `pretrained`, an oracle only `pretrained`.
        """
        data = self.dataset(recipe.dataset)
        if recipe.kind == "judge":
            judge = Judge(recipe.model, recipe.seed, recipe.knob("reject"))
            return build_judge(judge, data.shape, data.classes, weights).to(self.device)
        options = architecture(recipe.options)
        starts = {"original": FILES, "oracle": ("pretrained",)}.get(recipe.kind, ())
        for key, value in recipe.options:
            if key in starts:
                options[key] = value
        network = build(recipe.model, data.shape, data.classes, weights, options)
        return network.to(self.device)

    def _seconds(self, recipe: Recipe) -> float:
        """Return the seconds of making the artifact, from its card."""
        return float(self.store.card(recipe.kind, recipe.key)["seconds"])

    def _evaluator(self, problem: Problem) -> Evaluator:
        data = self.dataset(problem.dataset)
        if problem.task == "classifier":
            splits = self.splits(*problem.divided)
            return ClassifierEvaluator(splits, problem.forget, data.classes)
        judges = {}
        for seat, recipe in problem.judges.items():
            judges[seat] = self.model(recipe)
        return GeneratorEvaluator(data, problem.forget, judges, problem.eval.samples, problem.seed)

    def _evidence(self, problem: Problem, recipe: Recipe) -> Any:
        return self.evaluator(problem).observe(self.model(recipe))

    def _references(self, problem: Problem) -> References:
        """Return what the problem's cells are scored against, scored itself."""
        second = None
        if problem.eval.second_oracle:
            second = self.evidence(problem, problem.second_oracle)
        references = References(
            problem.task,
            self.evaluator(problem),
            self.evidence(problem, problem.original),
            self.evidence(problem, problem.oracle),
            second,
        )
        _ = references.scores  # computed here: no cell's scoring took these seconds
        return references

    def _vector(self, original: Recipe, expert: Recipe) -> TaskVector:
        return TaskVector(self.model(original), self._weights(expert))

    def _writer(self, original: Recipe, expert: Recipe) -> CandidateWriter:
        some = self.dataset(original.dataset).val.take(torch.arange(FOLDING_IMAGES))
        vector = self.vector(original, expert)
        return CandidateWriter(self.model(original), vector, some.pixels())

    def _keep(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """Return `make(self, *arguments)`, made once."""
        return make(self, *arguments)

    def needs(self, cell: Cell) -> dict[str, Any]:
        """Return the method's keyword arguments: artifacts, and how the original was trained."""
        found = {name: FORMS[name](self, cell.problem) for name in cell.method.needs}
        if hasattr(cell.method, "objective"):
            found["training"] = cell.problem.train
        return found


FORMS: dict[str, Callable[[WorkerCache, Problem], Any]] = {
    "fisher": lambda cache, problem: cache.weights(problem.fisher),
    "oracle": lambda cache, problem: cache.weights(problem.oracle),
    "expert": lambda cache, problem: cache.vector(problem.original, problem.expert),
    "experts": lambda cache, problem: [cache.weights(recipe) for recipe in problem.experts],
}


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
GIB = 1 << 30
OLD_LIMIT = 32 << 20  # older glibc accepts no larger mmap threshold


def configure_worker(cpus: float) -> None:
    """Set up this process as a worker: as many torch threads as CPUs; glibc keeps freed memory.

    By default glibc returns freed memory to the kernel, and every batch pays page faults to get it
    back. The price: the process keeps its peak size.
    """
    torch.set_num_threads(max(1, int(cpus)))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        accepted = libc.mallopt(M_MMAP_THRESHOLD, GIB)
        if not accepted:
            libc.mallopt(M_MMAP_THRESHOLD, OLD_LIMIT)
        libc.mallopt(M_TRIM_THRESHOLD, GIB)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Run torch on `n` threads; restore the number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(gpus: float) -> str:
    """Return `cuda` where the trial was given (a share of) a GPU, else `cpu`."""
    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"


def device_name(device: str) -> str:
    """Return the name of the CUDA device, as `NVIDIA H100 80GB HBM3`; of a CPU just `cpu`."""
    return torch.cuda.get_device_name() if device == "cuda" else device
