"""Task arithmetic with several experts: trim, elect, average, by hand."""

import pytest
import torch

from tests.unlearn.methods.tiny import two_pixel_splits, two_pixels
from tests.unlearn.world import World, apply
from unlearn.errors import BadInput
from unlearn.methods import make_method
from unlearn.methods.sign_consensus import merge_by_sign, trim
from unlearn.streams import stream
from unlearn.train import snapshot


def test_experts_must_agree_on_a_sign() -> None:
    taus = torch.tensor([[1.0, 3.0, -1.0, 0.0], [3.0, -1.0, -3.0, 2.0]])
    assert merge_by_sign(taus, 1.0).tolist() == [2.0, 0.0, -2.0, 0.0]
    assert merge_by_sign(taus, 0.0).tolist() == [2.0, 3.0, -2.0, 2.0]


def test_exactly_the_share_of_experts_is_enough() -> None:
    """In the first entry 2 of 4 have the elected sign, in the second 3 of 4."""
    taus = torch.tensor([[5.0, 1.0], [3.0, 2.0], [-1.0, 3.0], [-1.0, -1.0]])
    assert merge_by_sign(taus, 0.5).tolist() == [4.0, 2.0]
    assert merge_by_sign(taus, 0.75).tolist() == [0.0, 2.0]
    assert merge_by_sign(taus, 0.8).tolist() == [0.0, 0.0]


def test_the_smallest_entries_are_trimmed() -> None:
    tau = torch.tensor([1.0, -4.0, 2.0, -3.0])
    assert trim(tau, 0.0).tolist() == [1.0, -4.0, 2.0, -3.0]
    assert trim(tau, 0.5).tolist() == [0.0, -4.0, 0.0, -3.0]
    assert trim(tau, 1.0).tolist() == [0.0, -4.0, 0.0, 0.0]


def test_the_whole_method_by_hand() -> None:
    """Experts differ by +1 and +3 in one weight, by +2 and -1 in another; alpha is -2."""
    model = two_pixels()
    experts = [snapshot(model), snapshot(model)]
    experts[0]["head.weight"] += torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    experts[1]["head.weight"] += torch.tensor([[3.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
    method = make_method("sign-consensus", {"alpha": -2.0, "rho": 0.0, "agreement": 1.0})
    made = method(model, two_pixel_splits(), stream(0, ""), experts=experts).weights
    moved = made["head.weight"] - model.head.weight
    wanted = torch.tensor([[-4.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-5)


def test_alpha_0_is_the_original_and_one_expert_plain_arithmetic(one: World) -> None:
    still = apply("sign-consensus", {"alpha": 0.0}, one).weights
    assert all(torch.equal(still[key], tensor) for key, tensor in snapshot(one.model).items())
    whole = make_method("sign-consensus", {"alpha": 1.0, "rho": 0.0})
    expert = one.experts[0]
    made = whole(one.model, one.splits, stream(0, ""), experts=[expert]).weights
    for name, _ in one.model.named_parameters():
        torch.testing.assert_close(made[name], expert[name], rtol=0, atol=1e-6)


def test_no_experts_are_refused(one: World) -> None:
    with pytest.raises(BadInput, match="needs at least one expert"):
        make_method("sign-consensus", {})(one.model, one.splits, stream(0, ""), experts=[])
