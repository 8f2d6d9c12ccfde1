import pytest
import torch

from unlearn.generators.judges import (
    JUDGES,
    Judge,
    build_judge,
    floors,
    non_images,
    read,
    train_judge,
)
from unlearn.streams import globally, stream
from unlearn.train import Schedule


def test_three_judges_of_different_architecture_read_any_size():
    assert len(JUDGES) >= 3
    kinds = {
        name: tuple(type(m).__name__ for m in JUDGES[name]((1, 28, 28), 11).modules())
        for name in JUDGES
    }
    assert len(set(kinds.values())) == len(JUDGES)
    for net in JUDGES:
        judge = build_judge(Judge(net, 0, True), (3, 32, 32), 10)
        assert read(judge, torch.rand(3, 3, 32, 32))[0].shape == (3, 11)


@pytest.mark.parametrize("seat", ["attacker", "grader"])
def test_a_reject_aware_judge_reads_digits_and_sees_nothing_in_nothing(seat, request, digits):
    judge = request.getfixturevalue(seat)
    x, y = digits.test.pixels(), digits.test.y
    assert (read(judge, x)[0].argmax(1) == y).float().mean() > 0.9
    floor = floors(judge, digits.shape, 10, stream(1, "floor"))
    assert max(floor["noise"]) < 0.05
    assert max(floor["grey"]) < 0.05
    nothing = non_images(x[:200], stream(2, "nothing"))
    assert (read(judge, nothing)[0].argmax(1) == 10).float().mean() > 0.9


def test_a_judge_comes_from_its_generator_alone(digits):
    weights = []
    for global_seed in range(2):
        torch.manual_seed(global_seed)  # must not matter: this one has dropout
        with globally(stream(0, "start")):
            model = build_judge(Judge("official", 0, True), digits.shape, 10)
        plan = Schedule(steps=3, batch=16)
        weights.append(train_judge(model, digits.train, plan, stream(0, "judge"), reject=True)[0])
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
