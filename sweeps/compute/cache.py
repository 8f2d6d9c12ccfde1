"""What one worker process keeps at hand between cells: data, models, judges, evidence; loaded once, verified once."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from sweeps.spec.cells import Cell, Problem, Recipe, architecture
from sweeps.spec.sweep import FILES
from unlearn.artifacts import Store
from unlearn.data import Dataset, Splits, load
from unlearn.evaluation import ClassifierEvaluator, Evaluator, GeneratorEvaluator
from unlearn.generators.judges import Judge, build_judge
from unlearn.methods import METHODS
from unlearn.methods.task_vector import CandidateWriter, TaskVector
from unlearn.models import Weights, build


class WorkerCache:
    """Loads by recipe, from the store alone; keeps the last few of each kind."""

    def __init__(self, store: Store, data_root: str, device: str) -> None:
        self.store, self.data_root, self.device = store, data_root, device
        self.dataset = lru_cache(2)(self._dataset)
        self.weights = lru_cache(16)(self._weights)
        self.model = lru_cache(32)(self._model)
        self.splits = lru_cache(16)(self._splits)
        self.evaluator = lru_cache(32)(self._setting)
        self.evidence = lru_cache(8)(self._evidence)
        self.vector = lru_cache(4)(self._vector)
        self.writer = lru_cache(2)(self._surgeon)
        self.seconds = lru_cache(64)(self._seconds)
        self.keep = lru_cache(128)(self._keep)

    def _dataset(self, name: str) -> Dataset:
        return load(name, Path(self.data_root)).to(self.device)

    def _splits(self, name: str, forget: tuple[int, ...]) -> Splits:
        return self.dataset(name).split(forget)

    def _weights(self, recipe: Recipe) -> Weights:
        return {k: t.to(self.device) for k, t in self.store.load(recipe.kind, recipe.key).items()}

    def build(self, recipe: Recipe, weights: Weights | None = None) -> Any:
        """The network that the recipe names, on the device, in eval mode; without `weights` at random ones, or at those
        of the user's own file, which is an original and nothing else."""
        data = self.dataset(recipe.dataset)
        if recipe.kind == "judge":
            judge = Judge(recipe.model, recipe.seed, dict(recipe.knobs)["reject"])
            return build_judge(judge, data.shape, data.classes, weights).to(self.device)
        options = architecture(recipe.options)
        starts = {"original": FILES, "oracle": ("pretrained",)}.get(recipe.kind, ())
        options |= {key: value for key, value in recipe.options if key in starts}
        return build(recipe.model, data.shape, data.classes, weights, options).to(self.device)

    def _seconds(self, recipe: Recipe) -> float:
        """What making the artifact took, wherever that was."""
        return float(self.store.card(recipe.kind, recipe.key)["seconds"])

    def _model(self, recipe: Recipe) -> Any:
        return self.build(recipe, self._weights(recipe))

    def _setting(self, problem: Problem) -> Evaluator:
        data = self.dataset(problem.dataset)
        if problem.task == "classifier":
            return ClassifierEvaluator(
                self.splits(problem.dataset, problem.forget), problem.forget, data.classes
            )
        judges = {seat: self.model(recipe) for seat, recipe in problem.judges.items()}
        return GeneratorEvaluator(data, problem.forget, judges, problem.eval.samples, problem.seed)

    def _evidence(self, problem: Problem, recipe: Recipe) -> Any:
        return self.evaluator(problem).observe(self.model(recipe))

    def _vector(self, original: Recipe, expert: Recipe) -> TaskVector:
        return TaskVector(self.model(original), self._weights(expert))

    def _surgeon(self, original: Recipe, expert: Recipe) -> CandidateWriter:
        images = self.dataset(original.dataset).val
        return CandidateWriter(
            self.model(original),
            self.vector(original, expert),
            images.take(torch.arange(16)).pixels(),
        )

    def _keep(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """`make(self, *arguments)`, made once."""
        return make(self, *arguments)

    def needs(self, cell: Cell) -> dict[str, Any]:
        """What the cell's method asks for, by name, in the form that it wants."""
        return {name: FORMS[name](self, cell.problem) for name in METHODS[cell.method].needs}


FORMS: dict[str, Callable[[WorkerCache, Problem], Any]] = {
    "fisher": lambda cache, problem: cache.weights(problem.fisher),
    "oracle": lambda cache, problem: cache.weights(problem.oracle),
    "expert": lambda cache, problem: cache.vector(problem.original, problem.expert),
    "experts": lambda cache, problem: [cache.weights(recipe) for recipe in problem.experts],
}


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
GIB = 1 << 30


def configure_worker(cpus: float) -> None:
    """Make this process a worker: torch on as many threads as it was given CPUs; where glibc is the C library, it keeps
    freed memory, which would else go back to the kernel and be faulted in anew with every batch. (So a process stays
    about as large as it ever was.)"""
    torch.set_num_threads(max(1, int(cpus)))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, GIB) or libc.mallopt(
            M_MMAP_THRESHOLD, 32 << 20
        )  # an older one takes no more
        libc.mallopt(M_TRIM_THRESHOLD, GIB)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Torch on `n` threads, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(gpus: float) -> str:
    """`cuda` where the trial was given (a share of) a GPU, else `cpu`."""
    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"
