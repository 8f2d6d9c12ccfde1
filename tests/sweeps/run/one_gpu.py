"""A stand-in for Tune on one GPU: its packs, actors and shares as events, in seconds made up."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from ray.tune.search import Searcher

from sweeps.run.searcher import PackSearcher
from sweeps.spec.cells import Cell
from tests.sweeps import packs

Work = Callable[[Cell], tuple[float, float]]  # seconds on the host, then on the GPU


@dataclass
class Actor:
    """A worker: what it asks for, and the pack that it holds or waits for."""

    request: tuple[float, float]
    trial: str
    up: bool = False
    loaded: set[Any] = field(default_factory=set)


@dataclass
class OneGpu:
    """Plays a searcher's packs as Tune does: a free actor goes on to a trial that asks alike.

    The GPU serves one cell at a time; a trial that is done is held while an actor starts.

    work: of a cell
    start_s: of an actor
    load_s: of the first cell of a problem in an actor, on the host
    cpus: cores of the machine
    """

    searcher: PackSearcher
    work: Work
    scores: Callable[[Cell], Any]
    start_s: float = 9.0
    load_s: float = 0.0
    cpus: int = 16
    now: float = 0.0
    crowds: Callable[[Any], bool] = lambda pack: False

    def __post_init__(self) -> None:
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.waiting: dict[str, Any] = {}  # packs without an actor
        self.actors: list[Actor] = []
        self.held: list[tuple[Actor, Any, dict[str, Any]]] = []
        self.free_at = self.busy_s = self.first = 0.0
        self.done: list[tuple[float, Cell]] = []
        self.most = 0  # actors at once

    def play(self) -> None:
        """Run until the searcher has nothing left."""
        while True:
            self._suggestions()
            self._assign()
            if not self.events:
                return
            self.now, _, happens = heapq.heappop(self.events)
            happens()
            self._release()

    def _at(self, moment: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self.events, (moment, next(self.order), happens))

    def _suggestions(self) -> None:
        while True:
            name = str(next(self.order))
            pack = packs.ask(self.searcher, name)
            if pack is None or pack == Searcher.FINISHED:
                return
            self.waiting[name] = pack

    def _assign(self) -> None:
        wanted = [(pack.cpu, pack.gpu) for pack in self.waiting.values()]
        idle = [each for each in self.actors if each.up and not each.trial]
        for actor in idle:
            if actor.request in wanted:
                wanted.remove(actor.request)
            else:
                self.actors.remove(actor)
        for name, pack in list(self.waiting.items()):
            request = (pack.cpu, pack.gpu)
            free = [a for a in self.actors if a.up and not a.trial and a.request == request]
            if free:
                free[0].trial = name
                self._begin(free[0], self.waiting.pop(name))
                continue
            cpu, gpu = (sum(each.request[i] for each in self.actors) for i in (0, 1))
            if cpu + pack.cpu > self.cpus or gpu + pack.gpu > 1 + 1e-9:
                continue
            actor = Actor(request, name)
            self.actors.append(actor)
            self.most = max(self.most, len(self.actors))
            own = self.waiting.pop(name)
            self._at(self.now + self.start_s, partial(self._up, actor, own))

    def _up(self, actor: Actor, pack: Any) -> None:
        actor.up = True
        self._begin(actor, pack)

    def _begin(self, actor: Actor, pack: Any) -> None:
        if self.crowds(pack):
            result = {"reports": [], "halt": "", "crowded": True}
            self._at(self.now, lambda: self.held.append((actor, pack, result)))
            return
        self._cell(actor, pack, 0, self.now, self.now)

    def _cell(self, actor: Actor, pack: Any, place: int, began: float, last: float) -> None:
        if place == len(pack.cells):
            result = packs.result(pack, self.scores, wall_s=began - last)
            self.held.append((actor, pack, result))
            return
        cell = pack.cells[place]
        host_s, gpu_s = self.work(cell)
        if cell.problem not in actor.loaded:
            actor.loaded.add(cell.problem)
            host_s += self.load_s

        def asks() -> None:
            begins = max(self.now, self.free_at)
            self.first = self.first or begins
            self.free_at = begins + gpu_s
            self.busy_s += gpu_s
            self._at(self.free_at, ends)

        def ends() -> None:
            self.done.append((self.now, cell))
            self._cell(actor, pack, place + 1, self.now, began)

        self._at(began + host_s, asks)

    def _release(self) -> None:
        if any(not actor.up for actor in self.actors):
            return
        held, self.held = self.held, []
        for actor, _, result in held:
            self.searcher.on_trial_complete(actor.trial, result)
            actor.trial = ""
