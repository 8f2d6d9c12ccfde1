"""Show the progress of a run with an ETA: bars on a terminal, plain lines elsewhere."""

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm

from sweeps.plan.plan import Plan

UNITS = {"prepare": "artifact", "cells": "cell"}  # stage -> what it counts
REFRESH_S, LOG_S = 0.1, 10.0  # seconds between updates: on a terminal, elsewhere


class ProgressBars:
    """The progress callback of `sweeps.run.run.run`: a bar for artifacts and one for cells.

    plan: gives the number of artifacts and of cells; a stage with nothing to do gets no bar
    """

    def __init__(self, plan: Plan) -> None:
        terminal = sys.stderr.isatty()
        totals = {"prepare": len(plan.build), "cells": plan.cells}
        self.bars: dict[str, tqdm[Any]] = {}
        for position, (stage, total) in enumerate(totals.items()):
            if total == 0:
                continue
            self.bars[stage] = tqdm(
                total=total,
                desc=f"{stage:8}",
                unit=UNITS[stage],
                position=position,
                mininterval=REFRESH_S if terminal else LOG_S,
                dynamic_ncols=terminal,
                smoothing=0.1,
            )

    def __call__(self, stage: str, more: int, what: str) -> None:
        """Advance a stage (`prepare` or `cells`) by `more` items; `what` names the last one."""
        bar = self.bars.get(stage)
        if bar is not None:
            bar.set_postfix_str(what, refresh=False)
            bar.update(more)

    def __enter__(self) -> "ProgressBars":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in self.bars.values():
            bar.close()
