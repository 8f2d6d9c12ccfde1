"""What each method says of itself, against closed forms and slow loops."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.unlearn.world import World, apply, network
from unlearn.errors import BadInput
from unlearn.fisher.classifiers import classifier_fisher
from unlearn.methods import make_method
from unlearn.methods.cf_k import weight_layers
from unlearn.methods.iterative import copy_of, steady
from unlearn.methods.salun import saliency
from unlearn.methods.scrub import Scrub, distillation
from unlearn.methods.sign_consensus import elected, trimmed
from unlearn.methods.ssd import dampened
from unlearn.methods.task_arithmetic import TaskVector
from unlearn.methods.two_stage import contrastive, to_uniform
from unlearn.models import build
from unlearn.norms import recalibrate
from unlearn.streams import globally, stream
from unlearn.train import Training, fit, snapshot


def test_cf_k_moves_the_last_k_layers_only(one: World) -> None:
    before, after = snapshot(one.model), apply("cf-k", {"k": 1, "steps": 5}, one).weights
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"head.weight", "head.bias"}
    with pytest.raises(BadInput, match="k is 9"):
        apply("cf-k", {"k": 9, "steps": 5}, one)


def test_norms_belong_to_the_layer_before_them() -> None:
    model = network()
    groups = weight_layers(model)
    assert groups == [
        [model.conv1, model.norm1],
        [model.conv2, model.norm2],
        [model.hidden],
        [model.head],
    ]


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet_v2"])
def test_the_head_is_the_last_layer_of_every_network(name: str) -> None:
    model = build(name, (3, 32, 32), 10)
    groups = weight_layers(model)
    assert groups[-1] == [model.head]
    owners = [layer for layer in model.modules() if list(layer.parameters(recurse=False))]
    assert sum(map(len, groups)) == len(owners)


def test_a_pass_that_moves_the_statistics_leaves_the_steady_gradient_alone() -> None:
    def gradient(between: bool) -> Tensor:
        with globally(stream(0, "norms")):
            first = nn.Linear(4, 4)
            model = nn.Sequential(first, nn.BatchNorm1d(4), nn.Linear(4, 3)).train()
        x = torch.randn(8, 4, generator=stream(0, "x"))
        loss = steady(model, x).square().sum()
        if between:
            model(5 + 3 * x)
        (found,) = torch.autograd.grad(loss, [first.weight])
        assert model.training
        return found

    assert torch.equal(gradient(between=True), gradient(between=False))


def test_salun_moves_salient_weights_only(one: World) -> None:
    masks = saliency(one.model, one.splits.train.forget, 0.9)
    share = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    assert share == pytest.approx(0.1, abs=1e-3)
    before, after = snapshot(one.model), apply("salun", {"sparsity": 0.9, "steps": 5}, one).weights
    for key, mask in masks.items():
        assert torch.equal(before[key][~mask], after[key][~mask])
    assert any(not torch.equal(before[key][mask], after[key][mask]) for key, mask in masks.items())


def test_a_weight_that_no_forgotten_image_pulls_on_is_not_salient(one: World) -> None:
    """However few are: a pixel that is never inked, a layer that is frozen, one that nothing is read from."""
    model, images = (
        build("tests.unlearn.models.own_models:sharing", (1, 28, 28), 10),
        one.splits.train.forget,
    )
    model.net.spare = nn.Identity()
    model.spare = nn.Linear(3, 3)
    model.head.requires_grad_(False)
    masks = saliency(model, images, 0.1)
    blank = (images.x == 0).flatten(1).all(0)
    assert blank.double().mean() > 0.1
    assert not masks["net.1.weight"][:, blank].any()
    assert masks["net.1.weight"][:, ~blank].double().mean() > 0.5
    assert not masks["spare.weight"].any()
    after = make_method("salun", {"steps": 2})(model, one.splits, stream(0, "")).weights
    assert torch.equal(after["head.weight"], model.head.weight)
    assert torch.equal(after["net.1.weight"][:, blank], model.net[1].weight[:, blank])


def test_saliency_is_the_gradient_of_the_whole_loss(one: World) -> None:
    images = one.splits.train.forget
    loss = F.cross_entropy(one.model(images.pixels()), images.y)
    gradients = torch.autograd.grad(loss, list(one.model.parameters()))
    flat = torch.cat([g.abs().flatten() for g in gradients])
    slow = flat >= flat.sort().values[int(0.5 * len(flat))]
    masks = torch.cat([m.flatten() for m in saliency(one.model, images, 0.5, batch=64).values()])
    assert (slow == masks).double().mean() > 0.999


def test_dampening_by_hand() -> None:
    theta, f_all = torch.tensor([2.0, 2.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 0.0, 1.0])
    f_forget = torch.tensor([20.0, 5.0, 1.0, 0.0])
    assert dampened(theta, f_forget, f_all, 10.0, 1.0).tolist() == pytest.approx(
        [0.1, 2.0, 0.0, 2.0]
    )
    assert dampened(theta, f_forget, f_all, 10.0, 100.0).tolist() == [2.0, 2.0, 0.0, 2.0]


def test_the_fisher_is_the_mean_of_squared_gradients(one: World) -> None:
    images = one.splits.train.retain.take(torch.arange(12))
    fisher = classifier_fisher(one.model, images, 12, stream(0, "fisher"))
    slow = {name: torch.zeros_like(p) for name, p in one.model.named_parameters()}
    for i in range(12):
        loss = F.cross_entropy(
            one.model(images.take(torch.tensor([i])).pixels()), images.y[i : i + 1]
        )
        for name, gradient in zip(
            slow, torch.autograd.grad(loss, list(one.model.parameters())), strict=True
        ):
            slow[name] += gradient.square() / 12
    for name in slow:
        torch.testing.assert_close(fisher[name], slow[name], rtol=1e-4, atol=1e-8)


def test_experts_must_agree_on_a_sign() -> None:
    taus = torch.tensor([[1.0, 3.0, -1.0, 0.0], [3.0, -1.0, -3.0, 2.0]])
    assert elected(taus, 1.0).tolist() == [2.0, 0.0, -2.0, 0.0]
    assert elected(taus, 0.0).tolist() == [2.0, 3.0, -2.0, 2.0]
    assert trimmed(torch.tensor([1.0, -4.0, 2.0, -3.0]), 0.5).tolist() == [0.0, -4.0, 0.0, -3.0]


def test_no_step_and_one_expert_are_plain_arithmetic(one: World) -> None:
    still = apply("sign-consensus", {"alpha": 0.0}, one).weights
    assert all(torch.equal(still[key], tensor) for key, tensor in snapshot(one.model).items())
    whole = make_method("sign-consensus", {"alpha": 1.0, "rho": 0.0})
    expert = one.experts[0]
    made = whole(one.model, one.splits, stream(0, ""), experts=[expert]).weights
    for name, _ in one.model.named_parameters():
        torch.testing.assert_close(made[name], expert[name], rtol=0, atol=1e-6)


SHARED: dict[str, dict[str, Any]] = {
    "ssd": {"alpha": 0.5, "samples": 12},
    "task-arithmetic": {},
    "sign-consensus": {"agreement": 0.0},
    "fine-tune": {"steps": 3},
    "salun": {"steps": 3},
    "neg-grad-plus": {"steps": 3},
    "scrub": {"steps": 3, "msteps": 2},
    "bad-teacher": {"steps": 3},
}


def test_a_network_that_shares_layers_is_unlearned_whole_and_stays_as_it_was(one: World) -> None:
    """By one method after another, as in a worker: a layer with two names moves under both, in a copy."""
    model = build("tests.unlearn.models.own_models:sharing", (1, 28, 28), 10)
    forget, before = one.splits.train.forget, snapshot(model)
    experts = [fit(model, forget, Training(5, 32, 1e-2), stream(i, "expert"))[0] for i in range(2)]
    world = replace(one, model=model, oracle=copy.deepcopy(model), experts=experts)
    for name, knobs in SHARED.items():
        after = apply(name, knobs, world).weights
        assert torch.equal(after["net.3.0.weight"], after["net.5.0.weight"]), name
        assert not torch.equal(after["net.3.0.weight"], before["net.3.0.weight"]), name
        assert all(
            torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items()
        ), name
    vector = TaskVector(model, experts[0])
    expert = make_method("task-arithmetic", {"alpha": 1.0, "rho": 0.0})(
        model, one.splits, stream(0, ""), expert=vector
    )
    for key, _ in model.named_parameters(remove_duplicate=False):
        torch.testing.assert_close(expert.weights[key], experts[0][key], rtol=0, atol=1e-6)


def test_steady_leaves_a_shared_norm_its_own_statistics() -> None:
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(norm, nn.Linear(4, 4), norm).train()
    own = norm.running_mean
    steady(model, torch.randn(8, 4))
    assert norm.running_mean is own


def test_the_losses_by_hand() -> None:
    assert to_uniform(torch.zeros(3, 10)).item() == pytest.approx(0, abs=1e-6)
    p = torch.tensor([[0.5, 0.25, 0.25]])
    by_hand = sum((1 / 3) * torch.log(torch.tensor((1 / 3) / q)) for q in p[0].tolist())
    assert to_uniform(p.log()).item() == pytest.approx(float(by_hand), abs=1e-6)
    z_f, z_r = (
        torch.randn(2, 3, generator=stream(0, "")),
        torch.randn(4, 3, generator=stream(1, "")),
    )
    slow = [
        -torch.log_softmax(torch.stack([row @ other for other in z_r]) / 2, 0).mean() for row in z_f
    ]
    assert contrastive(z_f, z_r, 2.0).item() == pytest.approx(
        torch.stack(slow).mean().item(), abs=1e-5
    )
    q = torch.tensor([[0.2, 0.3, 0.5]])
    kl = (q * (q / p).log()).sum().item()
    assert distillation(p.log(), q.log(), 1.0).item() == pytest.approx(kl, abs=1e-6)
    assert distillation(q.log(), q.log(), 4.0).item() == pytest.approx(0, abs=1e-6)


def test_scrubs_ascent_weighs_as_its_share_of_the_batches_does(one: World) -> None:
    """An epoch of forgotten images has N_f / N_r times as many batches as one of kept ones; the paper's objective sets
    a mean beside a mean."""
    share = len(one.splits.train.forget) / len(one.splits.train.retain)

    def climb(ascent: float) -> float:
        pupil = copy_of(one.model)
        with torch.no_grad():
            pupil.head.weight.mul_(0.5)
        return (
            Scrub(ascent=ascent)
            .terms(pupil, one.model, one.splits, stream(0, "scrub"))()["forget"]
            .item()
        )

    epochs, authors, objective = climb(1.0), climb(4.0), climb(1 / share)
    assert objective < -0.01
    assert epochs == pytest.approx(share * objective)
    assert authors == pytest.approx(4 * share * objective)


def test_both_readings_of_two_stage(one: World) -> None:
    full = apply("two-stage", {"steps": 4}, one)
    one_batch = apply("two-stage", {"steps": 4, "reading": "one-batch"}, one)
    batches = len(one.splits.train.forget) // 64
    assert full.curve["step"] == [float(i) for i in range(1, batches + 5)]
    assert one_batch.curve["step"] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert one_batch.curve["retain"][0] == 0
    assert min(one_batch.curve["retain"][1:]) > 0


def test_l1_makes_weights_small(one: World) -> None:
    def size(weights: dict[str, Tensor]) -> float:
        return sum(weights[name].abs().sum().item() for name, _ in one.model.named_parameters())

    free = apply("l1-sparse", {"gamma": 0.0, "steps": 40}, one)
    held = apply("l1-sparse", {"gamma": 1e-3, "steps": 40}, one)
    assert size(held.weights) < 0.9 * size(free.weights)
    assert held.curve["l1"][0] == pytest.approx(1e-3 * size(snapshot(one.model)), rel=1e-4)
    assert held.curve["l1"][-1] < held.curve["l1"][0] / 10


def test_random_labels_name_the_classes_that_stay(several: World) -> None:
    kept = make_method("random-labels", {}).choices(several.splits)  # type: ignore[attr-defined]
    assert kept.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    everything = make_method("random-labels", {"labels": "all"}).choices(several.splits)  # type: ignore[attr-defined]
    assert everything.tolist() == list(range(10))


def test_random_labels_without_retained_images_never_see_them(one: World) -> None:
    made = apply("random-labels", {"alpha": 0.0, "steps": 4}, one)
    assert set(made.curve) == {"step", "forget"}
    buffers = dict(one.model.named_buffers())
    assert all(torch.equal(made.weights[name], buffer) for name, buffer in buffers.items())


def test_recalibrated_statistics_are_those_of_the_images(one: World) -> None:
    model = copy.deepcopy(one.model)
    images = one.splits.train.retain
    recalibrate(model, images, stream(0, "norms"), batch=len(images), batches=1)
    seen = one.model.conv1(images.pixels())
    torch.testing.assert_close(model.norm1.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.norm1.running_var, seen.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert model.norm1.momentum == one.model.norm1.momentum
    assert not model.norm1.training
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), one.model.parameters(), strict=True)
    )
