"""Stand-ins for Ray: tasks that run at once in this process, a Tuner that a test scripts."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.exceptions import RayError, RayTaskError
from ray.tune.experiment import Trial

from sweeps.run.searcher import PackSearcher


class Lost(BaseException):
    """Ends a task the way the death of its worker does."""

    def __init__(self, error: RayError) -> None:
        self.error = error


class Task:
    """A task that has run; the tasks that it depends on are among its arguments."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        needs = [argument.result for argument in arguments if isinstance(argument, Task)]
        plain = [argument for argument in arguments if not isinstance(argument, Task)]
        lost = [need for need in needs if isinstance(need, RayError)]
        self.result: Any = None
        if lost:
            self.result = RayTaskError("f", "Traceback", lost[0])
            return
        try:
            self.result = function(*plain, *needs)
        except Lost as end:
            self.result = end.error


class InPlace:
    """The part of Ray that `prepare` uses, without a worker."""

    def __init__(self) -> None:
        self.options: dict[str, dict[str, Any]] = {}  # by task
        self.cancelled: list[Task] = []

    def remote(self, **_: Any) -> Callable[[Callable[..., Any]], Any]:
        return lambda function: SimpleNamespace(
            options=lambda **options: self.task(function, options)
        )

    def task(self, function: Callable[..., Any], options: dict[str, Any]) -> Any:
        self.options[options["name"]] = options
        return SimpleNamespace(remote=lambda *arguments: Task(function, arguments))

    def wait(self, tasks: list[Task], timeout: float) -> tuple[list[Task], list[Task]]:
        return (tasks[:1], tasks[1:]) if timeout else ([], tasks)

    def cancel(self, task: Task, force: bool) -> None:
        self.cancelled.append(task)

    def get(self, task: Task) -> Any:
        if isinstance(task.result, RayError):
            raise task.result
        return task.result


class Tuner:
    """The part of Tune that `run` uses; `fitting` replaces Tune's own loop."""

    fitting: Callable[["Tuner"], None] = staticmethod(lambda tuner: None)

    def __init__(
        self, *_: Any, tune_config: tune.TuneConfig, run_config: tune.RunConfig, **__: Any
    ) -> None:
        callbacks = run_config.callbacks or []
        self.searcher: PackSearcher = tune_config.search_alg  # type: ignore[assignment]
        self.report: tune.Callback = callbacks[0]
        self.scratch = Path(str(run_config.storage_path))

    def fit(self) -> None:
        type(self).fitting(self)


def live_trial(status: str, own: str | None = None, actor: str | None = None) -> Any:
    """A trial of Tune: `own` is the actor launched for it, `actor` the one that is up."""

    class Live(SimpleNamespace):
        __hash__ = object.__hash__  # type: ignore[assignment]

    return Live(status=status, own=own, temporary_state=SimpleNamespace(ray_actor=actor))


def controller(trials: tuple[Any, ...]) -> Any:
    """A stand-in for Tune's controller that says which of the trials' actors are starting.

    Tune has only private attributes for that; no other place but `sweeps.run` names them.
    """
    manager = SimpleNamespace(is_actor_started=lambda actor: actor != "waits")
    owns = {trial: trial.own for trial in trials if trial.own}
    private = {"_trial_to_actor": owns, "_actor_manager": manager}
    return SimpleNamespace(get_live_trials=lambda: trials, **private)


PENDING, RUNNING = Trial.PENDING, Trial.RUNNING
