"""Images of every label, drawn by original, unlearned model and oracle from the same latents."""

from matplotlib.figure import Figure

from sweeps.report import figures
from sweeps.report.context import CellModels, Context
from sweeps.report.elements import picture
from unlearn.evaluation import draw

TITLES = {"original": "original", "amnesiac": "amnesiac", "oracle": "oracle (never saw it)"}


def section(context: Context) -> str:
    caption = "Same latents, three models; rows are labels, forgotten ones in red."
    return picture(sample_sheets(context.models), caption)


def sample_sheets(models: CellModels, n: int = 8) -> Figure:
    """Draw `n` images of every label with each of the three models."""
    problem = models.problem
    labels = list(range(models.dataset.classes))
    pictures = {}
    for kind, model in models.by_kind.items():
        pictures[TITLES[kind]] = draw(model, labels, n, problem.seed, "report")
    return figures.sheets(pictures, labels, problem.forget)
