"""The Fisher of every network of the zoo equals one backward pass per sample, summed in a loop."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.unlearn.zoo import classifiers, generators
from tests.unlearn.zoo.worlds import DATASET, zoo
from unlearn.fisher.classifiers import classifier_fisher
from unlearn.fisher.generators import batch_mean_fisher, generator_fisher
from unlearn.models import Weights
from unlearn.splits import Images
from unlearn.streams import stream

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")


def squares(model: nn.Module, loss: Tensor) -> Weights:
    """The squared gradient of one loss; 0 where it has none."""
    model.zero_grad()
    loss.backward()
    found = {}
    for name, p in model.named_parameters():
        found[name] = torch.zeros_like(p) if p.grad is None else p.grad.square()
        p.grad = None
    return found


def assert_close(fisher: Weights, slow: Weights) -> None:
    assert set(fisher) == set(slow)
    for name in slow:
        largest = slow[name].max().item()
        torch.testing.assert_close(fisher[name], slow[name], rtol=1e-3, atol=1e-5 * largest + 1e-12)
    assert max(tensor.max() for tensor in slow.values()) > 0


@pytest.mark.parametrize("name", classifiers.WORKING)
def test_of_a_classifier(name: str) -> None:
    model = zoo("classifiers", name).model
    few = DATASET.train.take(torch.arange(11))
    fisher = classifier_fisher(model, few, 11, stream(0, "fisher"))
    slow = {part: torch.zeros_like(p) for part, p in model.named_parameters()}
    for i in range(11):
        one: Images = few.take(torch.tensor([i]))
        for part, square in squares(model, F.cross_entropy(model(one.pixels()), one.y)).items():
            slow[part] += square / 11
    assert_close(fisher, slow)


@pytest.mark.parametrize("name", generators.WORKING)
def test_of_a_generator(name: str) -> None:
    """At one sample a batch the mean's gradient is the sample's."""
    model = zoo("generators", name).model
    fisher = generator_fisher(model, 9, stream(0, "fisher"), batch=1)
    slow = batch_mean_fisher(model, 9, stream(0, "fisher"), batch=1)
    assert_close(fisher, slow)
    repeated = generator_fisher(model, 9, stream(0, "fisher"), batch=4)
    assert all(torch.isfinite(tensor).all() for tensor in repeated.values())
