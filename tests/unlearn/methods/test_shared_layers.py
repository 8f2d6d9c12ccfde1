"""A network that uses a layer under several names is unlearned whole, and stays as it was."""

import copy
from dataclasses import replace
from typing import Any

import torch

from tests.unlearn.world import World, apply
from unlearn.methods import make_method
from unlearn.methods.task_vector import TaskVector
from unlearn.models import build
from unlearn.streams import stream
from unlearn.train import Training, fit, snapshot

KNOBS: dict[str, dict[str, Any]] = {
    "ssd": {"alpha": 0.5, "samples": 12},
    "task-arithmetic": {},
    "sign-consensus": {"agreement": 0.0},
    "fine-tune": {"steps": 3},
    "salun": {"steps": 3},
    "neg-grad-plus": {"steps": 3},
    "scrub": {"steps": 3, "msteps": 2},
    "bad-teacher": {"steps": 3},
}


def test_a_layer_with_two_names_moves_under_both_in_a_copy(one: World) -> None:
    """One method after another on the same model, as in a worker."""
    model = build("tests.unlearn.models.own_models:sharing", (1, 28, 28), 10)
    forget, before = one.splits.train.forget, snapshot(model)
    experts = [fit(model, forget, Training(5, 32, 1e-2), stream(i, "expert"))[0] for i in range(2)]
    world = replace(one, model=model, oracle=copy.deepcopy(model), experts=experts)
    for name, knobs in KNOBS.items():
        after = apply(name, knobs, world).weights
        assert torch.equal(after["net.3.0.weight"], after["net.5.0.weight"]), name
        assert not torch.equal(after["net.3.0.weight"], before["net.3.0.weight"]), name
        now = model.state_dict()
        assert all(torch.equal(tensor, before[key]) for key, tensor in now.items()), name
    method = make_method("task-arithmetic", {"alpha": 1.0, "rho": 0.0})
    vector = TaskVector(model, experts[0])
    made = method(model, one.splits, stream(0, ""), expert=vector).weights
    for key, _ in model.named_parameters(remove_duplicate=False):
        torch.testing.assert_close(made[key], experts[0][key], rtol=0, atol=1e-6)
