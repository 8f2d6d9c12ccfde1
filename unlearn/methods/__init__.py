"""All unlearning methods that a spec can name; each is a frozen dataclass of its knobs.

A method is called as `method(model, splits, generator, **needs)` and returns `Unlearned`. `model`
(the original, in eval mode) and everything in `needs` stay untouched; all randomness comes from
`generator`; device and dtype come from the model. `needs` are the artifacts that the class names:
`fisher`, `expert`, `experts`, `oracle`.

A new method takes a file with such a class, an import here and a line in `METHODS`.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from unlearn.columns import Column
from unlearn.docstrings import UNSAID, meanings
from unlearn.knobs import make
from unlearn.methods.amnesiac import Amnesiac
from unlearn.methods.bad_teacher import BadTeacher
from unlearn.methods.base import Method, Unlearned
from unlearn.methods.boundary_expand import BoundaryExpand
from unlearn.methods.boundary_shrink import BoundaryShrink
from unlearn.methods.cf_k import CFk
from unlearn.methods.convolution_transpose import ConvolutionTranspose
from unlearn.methods.eu_k import EUk
from unlearn.methods.fine_tune import FineTune
from unlearn.methods.fisher_forgetting import FisherForgetting
from unlearn.methods.gradient_ascent import GradientAscent
from unlearn.methods.influence import Influence
from unlearn.methods.l1_sparse import L1Sparse
from unlearn.methods.masked_small_gradients import MaskedSmallGradients
from unlearn.methods.neg_grad_plus import NegGradPlus
from unlearn.methods.random_labels import RandomLabels
from unlearn.methods.retrain import Retrain
from unlearn.methods.robust_amnesia import RobustAmnesia
from unlearn.methods.rum import Rum
from unlearn.methods.salun import SalUn
from unlearn.methods.scrub import Scrub
from unlearn.methods.selective_amnesia import SelectiveAmnesia
from unlearn.methods.sequential_amnesia import SequentialAmnesia
from unlearn.methods.sign_consensus import SignConsensus
from unlearn.methods.ssd import SSD
from unlearn.methods.task_arithmetic import TaskArithmetic
from unlearn.methods.two_stage import TwoStage
from unlearn.methods.unsir import Unsir

__all__ = ["KNOBS", "METHODS", "Method", "Unlearned", "knob_entries", "make_method", "method_name"]

METHODS: dict[str, type[Method]] = {
    "selective-amnesia": SelectiveAmnesia,
    "sequential-amnesia": SequentialAmnesia,
    "robust-amnesia": RobustAmnesia,
    "task-arithmetic": TaskArithmetic,
    "retrain": Retrain,
    "fine-tune": FineTune,
    "gradient-ascent": GradientAscent,
    "neg-grad-plus": NegGradPlus,
    "random-labels": RandomLabels,
    "two-stage": TwoStage,
    "sign-consensus": SignConsensus,
    "cf-k": CFk,
    "salun": SalUn,
    "ssd": SSD,
    "scrub": Scrub,
    "bad-teacher": BadTeacher,
    "l1-sparse": L1Sparse,
    "boundary-shrink": BoundaryShrink,
    "boundary-expand": BoundaryExpand,
    "fisher-forgetting": FisherForgetting,
    "influence": Influence,
    "eu-k": EUk,
    "unsir": Unsir,
    "amnesiac": Amnesiac,
    "masked-small-gradients": MaskedSmallGradients,
    "convolution-transpose": ConvolutionTranspose,
    "rum": Rum,
}

NAMES = {kind: name for name, kind in METHODS.items()}


def _knob_types() -> dict[str, Any]:
    """Return the type of every knob of every method, by name, in alphabetical order."""
    types: dict[str, Any] = {}
    for method in METHODS.values():
        for knob in fields(method):
            types[knob.name] = knob.type
    return dict(sorted(types.items()))


KNOBS: dict[str, Any] = _knob_types()


def knob_entries() -> dict[str, Column]:
    """Return the entry of every knob; where it means several things, each with its methods."""
    owners: dict[str, dict[str, list[str]]] = {name: {} for name in KNOBS}
    for name, method in METHODS.items():
        told = meanings(method)
        for knob in fields(method):
            meaning = told.get(knob.name, UNSAID)
            owners[knob.name].setdefault(meaning, []).append(name)
    found = {}
    for knob_name, by_meaning in owners.items():
        texts = list(by_meaning)
        if len(texts) > 1:
            texts = [f"{', '.join(names)}: {text}" for text, names in by_meaning.items()]
        methods = [name for names in by_meaning.values() for name in names]
        source = f"knob of {', '.join(methods)}"
        found[knob_name] = Column(knob_name, KNOBS[knob_name], "; ".join(texts), source=source)
    return found


def make_method(name: str, knobs: Mapping[str, Any]) -> Method:
    """Return the method `name` with `knobs`; raise `BadInput` for a bad name, knob or value."""
    return make("method", METHODS, name, knobs)


def method_name(method: Method) -> str:
    """Return the name under which the method stands in `METHODS`."""
    return NAMES[type(method)]
