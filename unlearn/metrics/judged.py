"""What the judges read in a generator's images of the forgotten and of the kept labels."""

import torch
from torch import Tensor

from unlearn.evaluation import GeneratorEvaluator, GeneratorEvidence, JudgedSamples, Scores
from unlearn.metrics.base import Metric
from unlearn.metrics.entropy import entropy


def _own(probabilities: Tensor) -> Tensor:
    """Probability of the label that was asked for: (classes, n, outputs) -> (classes, n)."""
    asked = torch.arange(len(probabilities), device=probabilities.device)
    return probabilities[asked, :, asked]


def _hit(probabilities: Tensor) -> Tensor:
    """Share of images read as the label that was asked for, (classes,)."""
    asked = torch.arange(len(probabilities), device=probabilities.device)
    return (probabilities.argmax(2) == asked[:, None]).float().mean(1)


def _led(evaluator: GeneratorEvaluator, drawn: JudgedSamples, judge: str) -> Scores:
    own, hit = _own(drawn.probabilities[judge]).mean(1), _hit(drawn.probabilities[judge])
    forget = list(evaluator.forget)
    return {
        "forget_probability": own[forget].mean().item(),
        "forget_accuracy": hit[forget].mean().item(),
        "retain_accuracy": hit[evaluator.kept].mean().item(),
        "class_accuracy": hit.tolist(),
    }


def compute(
    evaluator: GeneratorEvaluator, evidence: GeneratorEvidence, oracle: GeneratorEvidence
) -> Scores:
    """Over `samples` images a label, z ~ N(0, I). Shares in [0, 1], entropies in nats (at most ln classes).

    forget_probability, forget_accuracy, retain_accuracy, class_accuracy: the reject-aware judge `lead`; the same with
    `val_`: the judge `val` on other latents. forget_entropy: mean over the plain judges (the paper's H; a reject-aware
    judge is certain that noise is nothing). judge_*: one entry a judge in the order of `judge_names`, `lead` first.
    """
    scores = _led(evaluator, evidence.test, "lead")
    scores |= {f"val_{name}": value for name, value in _led(evaluator, evidence.val, "val").items()}
    forget, read = list(evaluator.forget), evidence.test.probabilities
    entropies = [entropy(p[forget].flatten(0, 1)).mean().item() for p in read.values()]
    scores["forget_entropy"] = sum(entropies[1:]) / len(entropies[1:])
    scores["judge_forget_entropy"] = entropies
    scores["judge_forget_probability"] = [_own(p)[forget].mean().item() for p in read.values()]
    scores["judge_forget_accuracy"] = [_hit(p)[forget].mean().item() for p in read.values()]
    scores["judge_retain_accuracy"] = [_hit(p)[evaluator.kept].mean().item() for p in read.values()]
    return scores


_LED = {
    "forget_probability": float,
    "forget_accuracy": float,
    "retain_accuracy": float,
    "class_accuracy": list,
}
METRIC = Metric(
    "generator",
    {
        **_LED,
        **{f"val_{name}": kind for name, kind in _LED.items()},
        "forget_entropy": float,
        "judge_forget_entropy": list,
        "judge_forget_probability": list,
        "judge_forget_accuracy": list,
        "judge_retain_accuracy": list,
    },
    compute,
)
