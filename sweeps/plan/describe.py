"""Describe a plan and its cost in words, for a terminal."""

from sweeps.plan.cost import Cost
from sweeps.plan.plan import Plan
from sweeps.spec.sweep import Sweep
from unlearn.models import task_of


def describe(plan: Plan, cost: Cost) -> str:
    """Describe in words what the plan would do, for a terminal."""
    lines = [_describe_sweep(sweep) for sweep in plan.sweeps]
    lines.append(f"artifacts: {len(plan.build)} to build, {len(plan.reuse)} reused")
    lines += [f"  build {recipe.describe()} [{recipe.key}]" for recipe in plan.build]
    errors = ""
    if plan.errors:
        errors = f", {len(plan.errors)} of them with an error (again with --retry-failed)"
    lines.append(f"cells: {plan.cells} to run, {plan.done} done{errors}")
    lines.append(_describe_cost(plan, cost))
    return "\n".join(lines)


def _describe_sweep(sweep: Sweep) -> str:
    models, forget, seeds = len(sweep.models), len(sweep.forget), len(sweep.seeds)
    axes = f"{models} models x {forget} forget sets x {seeds} seeds"
    tasks = ", ".join(sorted(set(map(task_of, sweep.models))))
    points = " x ".join(f"{knob}{list(values)}" for knob, values in sweep.grid)
    parts = [axes, points] if points else [axes]
    if sweep.search:
        _, search = sweep.search[0]
        parts.append(f"{search.trials} {search.sampler} trials per study")
    methods = ", ".join(sweep.methods)
    return f"{sweep.name}: {methods} on {sweep.dataset} ({tasks}): {'; '.join(parts)}"


def _describe_cost(plan: Plan, cost: Cost) -> str:
    if not plan.cells:
        return "cost: nothing; every cell has its row"
    low, high = cost.wall_s
    whole = sum(cost.sources.values()) or 1.0
    basis = [f"{seconds / whole:.0%} {source}" for source, seconds in cost.sources.items()]
    return (
        f"cost: {duration(low)} to {duration(high)} on {cost.slots.where} "
        f"({cost.artifacts_s:.0f} s artifacts and {cost.cells_s:.0f} s cells of computing; "
        f"from {', '.join(basis)})"
    )


def duration(seconds: float) -> str:
    """Return seconds as text: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
