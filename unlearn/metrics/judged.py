"""How judges classify a generator's images of the forgotten and of the kept labels."""

import torch
from torch import Tensor

from unlearn.columns import Scale
from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, JudgedSamples, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.entropy import entropy


def _own(probabilities: Tensor) -> Tensor:
    """Select the asked label's probability: (classes, n, outputs) -> (classes, n)."""
    asked = torch.arange(len(probabilities), device=probabilities.device)
    return probabilities[asked, :, asked]


def _hit(probabilities: Tensor) -> Tensor:
    """Compute the share of images read as the label that was asked for, (classes,)."""
    asked = torch.arange(len(probabilities), device=probabilities.device)
    return (probabilities.argmax(2) == asked[:, None]).float().mean(1)


def read_as(probabilities: Tensor, classes: list[int]) -> Tensor:
    """Compute the share of images of each label that are read as one of `classes`, (labels,)."""
    answers = probabilities.argmax(2)
    wanted = torch.tensor(classes, device=answers.device)
    return torch.isin(answers, wanted).float().mean(1)


def read_by(evaluator: GeneratorEvaluator, drawn: JudgedSamples, judge: str) -> Scores:
    """Compute the columns of `READ_BY_ONE`, as one reject-aware judge reads the images."""
    probabilities = drawn.probabilities[judge]
    own, hit = _own(probabilities).mean(1), _hit(probabilities)
    forget, kept = list(evaluator.forget), evaluator.kept
    any_forgotten = probabilities[:, :, forget].sum(2).mean(1)
    read_forgotten = read_as(probabilities, forget)
    return {
        "forget_probability": own[forget].mean().item(),
        "forget_accuracy": hit[forget].mean().item(),
        "retain_accuracy": hit[evaluator.kept].mean().item(),
        "class_accuracy": hit.tolist(),
        "forget_any_probability": any_forgotten[forget].mean().item(),
        "forget_any_accuracy": read_forgotten[forget].mean().item(),
        "retain_leak_probability": any_forgotten[kept].mean().item(),
        "retain_leak_accuracy": read_forgotten[kept].mean().item(),
    }


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Compute what the judges read in `samples` images per label, z ~ N(0, I).

    Shares are in [0, 1], entropies in nats, 0 to ln classes.

    forget_probability: mean probability of the label that was asked for, on forgotten labels
    forget_accuracy: share of images read as that label, on forgotten labels
    retain_accuracy: the same share on kept labels
    class_accuracy: the same share for every label
    forget_any_probability: mean probability of all forgotten classes together, on forgotten labels;
        a generator that draws one forgotten class under the label of another has forgotten nothing
    forget_any_accuracy: share of images on forgotten labels that are read as any forgotten class
    retain_leak_probability: mean probability of all forgotten classes together, on kept labels
    retain_leak_accuracy: share of images on kept labels that are read as any forgotten class
    forget_entropy: mean entropy over the plain judges, on forgotten labels (the paper's H; a
        reject-aware judge is certain that noise is nothing)
    judge_forget_entropy: mean entropy on forgotten labels, per judge
    judge_forget_probability: the probability as above, per judge
    judge_forget_accuracy: the share as above, per judge
    judge_retain_accuracy: the share as above, per judge

    val_forget_probability, val_forget_accuracy: the same as judge `val` reads, on other latents
    val_retain_accuracy, val_class_accuracy: the same as judge `val` reads, on other latents
    val_forget_any_probability, val_forget_any_accuracy: the same as judge `val` reads
    val_retain_leak_probability, val_retain_leak_accuracy: the same as judge `val` reads

    Columns without `judge_` and `val_` are as the reject-aware judge `lead` reads. Lists per judge
    are in the order of `judge_names`, `lead` first.
    """
    scores = read_by(evaluator, evidence.test, "lead")
    for name, value in read_by(evaluator, evidence.val, "val").items():
        scores[f"val_{name}"] = value
    forget, kept = list(evaluator.forget), evaluator.kept
    readings = [evidence.test.probabilities[name] for name in ("lead", *evaluator.plain)]
    entropies = [entropy(p[forget].flatten(0, 1)).mean().item() for p in readings]
    of_plain = entropies[1:]
    scores["forget_entropy"] = sum(of_plain) / len(of_plain)
    scores["judge_forget_entropy"] = entropies
    scores["judge_forget_probability"] = [_own(p)[forget].mean().item() for p in readings]
    scores["judge_forget_accuracy"] = [_hit(p)[forget].mean().item() for p in readings]
    scores["judge_retain_accuracy"] = [_hit(p)[kept].mean().item() for p in readings]
    return scores


READ_BY_ONE = {
    "forget_probability": float,
    "forget_accuracy": float,
    "retain_accuracy": float,
    "class_accuracy": list,
    "forget_any_probability": float,
    "forget_any_accuracy": float,
    "retain_leak_probability": float,
    "retain_leak_accuracy": float,
}
METRIC = Metric(
    "generator",
    {
        **READ_BY_ONE,
        **{f"val_{name}": kind for name, kind in READ_BY_ONE.items()},
        "forget_entropy": float,
        "judge_forget_entropy": list,
        "judge_forget_probability": list,
        "judge_forget_accuracy": list,
        "judge_retain_accuracy": list,
    },
    compute,
    scales={
        "*forget_entropy": Scale("nats", "oracle"),
        "*forget_*": Scale("share", "oracle"),
        "*retain_leak_*": Scale("share", "lower"),
        "*retain_*": Scale("share", "higher"),
        "*": Scale("share"),
    },
    floor=(
        "forget_probability",
        "forget_accuracy",
        "forget_any_probability",
        "forget_any_accuracy",
        "retain_accuracy",
    ),
)
