import pytest
import torch

from unlearn.errors import BadInput
from unlearn.generators.targets import TARGETS
from unlearn.methods import make_method
from unlearn.methods.selective_amnesia import SelectiveAmnesia, amnesia_batch, ewc, replay_pool
from unlearn.models import build
from unlearn.streams import stream
from unlearn.train import snapshot


def shares(model, judge, label, n=200):
    with torch.no_grad():
        z = torch.randn(n, model.z_dim, generator=stream(0, "z", label))
        x = model(z, model.one_hot(torch.full((n,), label)))
        return (judge(x).argmax(1) == label).float().mean().item()


def amnesiac(original, splits, fisher, **knobs):
    made = SelectiveAmnesia(**knobs)(original, splits, stream(0, "sa"), fisher=fisher)
    model = build("cvae-mlp", original.shape, original.classes, made.weights)
    return model, made.curve


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_forgets_the_class_and_keeps_the_rest(
    target, original, splits, fisher, grader
):
    model, _ = amnesiac(original, splits, fisher, target=target, steps=300, batch=48)
    kept = [2, 3, 7]
    before = sum(shares(original, grader, label) for label in kept) / len(kept)
    assert shares(original, grader, 0) > 0.8
    assert shares(model, grader, 0) < 0.2
    assert sum(shares(model, grader, label) for label in kept) / len(kept) > before - 0.25


def test_targets_draw_what_they_say(original, splits, grader):
    kept = splits.train.retain.y.unique()
    noise, grey, other = (
        TARGETS[name](original, 100, kept, stream(0, name)) for name in ("noise", "grey", "class")
    )
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.005)
    assert torch.equal(grey, torch.full_like(grey, 0.5))
    read = grader(other).argmax(1)
    assert (read != 0).float().mean() > 0.9
    assert torch.isin(read, kept).float().mean() > 0.7


def test_ewc_is_zero_at_the_anchor_and_adds_the_gradient_of_the_penalty(original, fisher):
    model = build("cvae-mlp", original.shape, original.classes, snapshot(original))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    add = ewc(model, snapshot(original), fisher, 3.0)
    assert add()["ewc"].item() == 0
    assert all((p.grad == 0).all() for p in model.parameters())

    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=stream(0, p.shape)) * 0.1)
    reported = add()["ewc"]
    anchor = snapshot(original)
    penalty = 3.0 * sum(
        (fisher[name] * (p - anchor[name]).square()).sum() for name, p in model.named_parameters()
    )
    wanted = torch.autograd.grad(penalty, list(model.parameters()))
    assert reported.item() == pytest.approx(penalty.item(), rel=1e-5)
    for p, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_half_and_reduction_change_lambda_as_the_papers_differ():
    assert SelectiveAmnesia(lam=100).strength == 100 / 256
    assert SelectiveAmnesia(lam=100, half=True).strength == 50 / 256
    assert SelectiveAmnesia(lam=100, reduction="sum").strength == 100
    assert SelectiveAmnesia(lam=100, reduction="sum", half=True).strength == 50


def test_the_papers_sum_and_our_mean_are_the_same_descent_at_its_batch(original, splits, fisher):
    short = {"steps": 4, "batch": 64, "lam_batch": 64, "lam": 100.0}
    summed, sum_curve = amnesiac(original, splits, fisher, reduction="sum", **short)
    mean, mean_curve = amnesiac(original, splits, fisher, **short)
    assert sum_curve["forget"][0] == pytest.approx(64 * mean_curve["forget"][0], rel=1e-5)
    assert sum_curve["ewc"][-1] == pytest.approx(64 * mean_curve["ewc"][-1], rel=1e-3)
    moved = torch.cat(
        [(a - b).flatten() for a, b in zip(summed.parameters(), mean.parameters(), strict=True)]
    )
    from_start = torch.cat(
        [(a - b).flatten() for a, b in zip(mean.parameters(), original.parameters(), strict=True)]
    )
    assert moved.norm() < 0.1 * from_start.norm()  # Adam's epsilon is all that tells them apart


def test_a_replay_pool_is_drawn_once_and_holds_kept_labels_only(original, splits):
    forget, retain = splits.train.forget.y.unique(), splits.train.retain.y.unique()
    pool = replay_pool(original, retain, 7, stream(0, "pool"))
    assert torch.isin(pool[1].argmax(1), retain).all()
    x, c = amnesia_batch(original, forget, retain, 20, stream(0, "batch"), pool=pool)
    rows = {tuple(image.flatten().tolist()) for image in pool[0]}
    assert all(tuple(image.flatten().tolist()) in rows for image in x[20:])
    assert (c[:20].argmax(1) == 0).all()


def test_a_pool_of_one_image_replays_that_image_alone(original, splits, fisher):
    """With weights that hardly move, what still varies from step to step is which images are replayed."""
    still = {"steps": 12, "batch": 8, "lr": 1e-8, "replay": "pool"}
    one, many = (
        amnesiac(original, splits, fisher, pool=size, **still)[1]["replay"] for size in (1, 500)
    )
    assert torch.tensor(one).std() < 0.5 * torch.tensor(many).std()


def test_regularisers_are_logged_only_where_asked_and_push_their_quantity_down(
    original, splits, fisher
):
    _, plain = amnesiac(original, splits, fisher, steps=30, batch=16)
    _, flat = amnesiac(original, splits, fisher, steps=80, batch=16, w_tv=2000.0, w_orient=1.0)
    assert "regularise" not in plain
    assert flat["regularise"][-1] < 0.7 * flat["regularise"][0]


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"target": "void"}, "unknown target 'void'; known: noise, grey, class"),
        ({"reduction": "median"}, "unknown reduction"),
        ({"replay": "none"}, "unknown replay"),
        ({"pool": 0}, "pool must be at least 1"),
        ({"w_tv": -1.0}, "w_tv must be at least 0"),
        ({"half": 1}, "half must be a bool"),
    ],
)
def test_a_bad_knob_is_refused_by_name(knobs, says):
    with pytest.raises(BadInput, match=says):
        make_method("selective-amnesia", knobs)
