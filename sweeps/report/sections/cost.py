"""The cost of choosing on val, in score; the cost of unlearning, in seconds, beside retraining."""

from sweeps.choose.choice_cost import SecondsSpent, regret, saving
from sweeps.report.context import Context
from sweeps.report.elements import heading, paragraph


def section(context: Context) -> str:
    return heading(4, "Cost") + _regret(context) + _seconds(context)


def _regret(context: Context) -> str:
    """Say how much score on test was lost; "" where it is unknown."""
    lost = regret(context.finished, context.row)
    if lost is None:
        return ""
    among = "" if context.candidates.empty else " among its method's candidates"
    return paragraph(
        f"Choosing on val instead of test{among} cost {lost:.4f} of the score on test."
    )


def _seconds(context: Context) -> str:
    spent = saving(context.rows, context.row)
    return paragraph(
        f"Unlearning took {spent.unlearning:.2f} s; in all, with the artifacts that it needs and "
        f"every cell of its method that was tried, {spent.in_all:.1f} s. Retraining took "
        f"{spent.retraining:.1f} s: {beside_retraining(spent)}."
    )


def beside_retraining(spent: SecondsSpent) -> str:
    """Say what share was saved, or how many times retraining it cost."""
    if spent.saved >= 0:
        return f"{spent.saved:.0%} saved"
    return f"that is {1 - spent.saved:.1f} times retraining"
