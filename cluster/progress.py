"""One progress bar with ETA for artifacts and cells; plain lines where nobody watches a terminal."""

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm

from sweeps.plan.plan import Plan


class Bar:
    """A callable for `sweeps.run.run.run`: advances by finished artifacts and cells."""

    def __init__(self, plan: Plan) -> None:
        terminal = sys.stderr.isatty()
        total = {"prepare": len(plan.build), "cells": plan.cells}
        options: dict[str, Any] = {
            "mininterval": 0.1 if terminal else 10.0,
            "dynamic_ncols": terminal,
            "smoothing": 0.1,
        }
        self.bars = {
            stage: tqdm(total=n, desc=f"{stage:8}", unit=unit, position=i, **options)
            for i, ((stage, n), unit) in enumerate(
                zip(total.items(), ("artifact", "cell"), strict=True)
            )
            if n
        }

    def __call__(self, stage: str, more: int, what: str) -> None:
        bar = self.bars.get(stage)
        if bar is not None:
            bar.set_postfix_str(what, refresh=False)
            bar.update(more)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in self.bars.values():
            bar.close()
