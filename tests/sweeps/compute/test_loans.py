"""What the cache lends comes back: whatever a cell does to a model, the next cell sees the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sweeps.compute import cell as computing
from sweeps.compute.attacks import untrained_model
from sweeps.compute.cache import WorkerCache
from sweeps.compute.loans import bit_sum
from sweeps.spec.cells import Cell
from tests.sweeps import builders as make
from tests.unlearn.zoo.classifiers import TRAINED
from tests.unlearn.zoo.worlds import DATASET, SHAPE, assert_untouched, builder, marks, zoo
from unlearn.artifacts import Store
from unlearn.data import DATASETS, DatasetSource
from unlearn.methods import METHODS
from unlearn.splits import Images

METHOD_NAMES = [name for name, method in METHODS.items() if "classifier" in method.tasks]
MARKING = ("weight norm", "spectral norm", "spectral norm, new", "pruned", "remembers")
TRAINED_HEAD = {"3.weight": torch.ones(3, 6), "3.bias": torch.ones(3)}
pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")


@pytest.fixture(autouse=True)
def zoo_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set `zoo`: its own images, of which val is cut as of any other."""

    def read(root: Path) -> tuple[Images, Images]:
        return DATASET.train, DATASET.test

    monkeypatch.setitem(DATASETS, "zoo", DatasetSource(SHAPE, 3, 2, read))


def cells_of(name: str, methods: list[str]) -> list[Cell]:
    knobs: dict[str, Any] = {}
    for knob, value in {"steps": 2, "batch": 8, "samples": 16, "msteps": 1}.items():
        if any(hasattr(METHODS[method], knob) for method in methods):
            knobs[knob] = value
    return make.cells(
        dataset="zoo",
        models=builder("classifiers", name),
        method=methods,
        forget=[[0]],
        unlearn=knobs,
        train={"experts": 2},
    )


def stored(folder: Path, name: str, cells: list[Cell]) -> WorkerCache:
    """A cache on a store with the artifacts of the zoo's network."""
    world, store = zoo("classifiers", name), Store(str(folder))
    weights = {
        "original": world.model.state_dict(),
        "oracle": world.oracle.state_dict(),
        "expert": world.expert,
    }
    for cell in cells:
        for recipe in cell.recipes().values():
            store.save(recipe.kind, recipe.key, weights[recipe.kind], {"seconds": 0.0})
    return WorkerCache(store, "data", "cpu")


@pytest.mark.parametrize("name", MARKING)
def test_cells_give_the_same_in_any_order(tmp_path: Path, name: str) -> None:
    cells = cells_of(name, METHOD_NAMES)
    cache = stored(tmp_path, name, cells)
    original = cache.model(cells[0].problem.original)
    before = marks(original)
    first = {}
    for cell in cells:
        first[cell] = computing.unlearn(cache, cell, cache.needs(cell)).weights
        assert_untouched(original, before)
    for cell in reversed(cells):
        again = computing.unlearn(cache, cell, cache.needs(cell)).weights
        assert all(torch.equal(again[part], tensor) for part, tensor in first[cell].items())


def write_over(model: nn.Module) -> None:
    for p in model.parameters():
        p.data.mul_(2)


def write_one_bit(model: nn.Module) -> None:
    last = list(model.parameters())[-1]
    last.data[0] = torch.nextafter(last.data[0], torch.tensor(torch.inf))


def write_and_fail(model: nn.Module) -> None:
    write_over(model)
    raise RuntimeError("nowhere to go on")


def leave_gradients(model: nn.Module) -> None:
    model(torch.rand(2, *SHAPE)).sum().backward()


def leave_a_hook(model: nn.Module) -> None:
    model.register_forward_hook(lambda layer, given, output: output * 0)


def replace_the_head(model: Any) -> None:
    model.head = nn.Identity()


def train_mode_and_frozen(model: nn.Module) -> None:
    model.train().requires_grad_(False)


def change_the_normalisation(model: Any) -> None:
    model.normalise.mean += 1


DONE: dict[str, Callable[[Any], None]] = {
    done.__name__: done
    for done in (
        *(write_over, write_one_bit, leave_gradients, leave_a_hook, replace_the_head),
        *(train_mode_and_frozen, change_the_normalisation),
    )
}


@pytest.mark.parametrize("done", DONE)
def test_whatever_a_borrower_does_is_undone(tmp_path: Path, done: str) -> None:
    (cell,) = cells_of("plain", ["fine-tune"])
    cache = stored(tmp_path, "plain", [cell])
    x = torch.rand(2, *SHAPE)
    model = cache.model(cell.problem.original)
    before, answers = marks(model), model(x).detach()
    with cache.lending():
        DONE[done](cache.model(cell.problem.original))
    assert_untouched(model, before)
    assert torch.equal(model(x), answers)


@pytest.mark.parametrize("name", ["plain", "starts trained"])
def test_the_untrained_model_starts_from_no_file(name: str, tmp_path: Path) -> None:
    """Where a spec names a trained network, attacks still compare with an untrained one."""
    network = zoo("classifiers", "plain").model
    torch.save(network.net.state_dict() | TRAINED_HEAD, tmp_path / "trained.pt")
    own = {"dataset": "zoo", "models": builder("classifiers", name), "forget": [[0]]}
    files = {"weights": str(tmp_path / "trained.pt")}
    cache = WorkerCache(Store(str(tmp_path)), "data", "cpu")
    found = untrained_model(cache, make.problem(**own, **files))
    plain = untrained_model(cache, make.problem(**own))
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, plain.state_dict()[name])
        assert not torch.equal(tensor, network.state_dict()[name])
    assert not torch.equal(found.net[1].weight, TRAINED)


def test_an_error_inside_undoes_as_much(tmp_path: Path) -> None:
    (cell,) = cells_of("plain", ["fine-tune"])
    cache = stored(tmp_path, "plain", [cell])
    model = cache.model(cell.problem.original)
    before = marks(model)
    with pytest.raises(RuntimeError, match="nowhere"), cache.lending():
        write_and_fail(cache.model(cell.problem.original))
    assert_untouched(model, before)


def test_weights_that_a_method_needs_come_back_too(tmp_path: Path) -> None:
    (cell,) = cells_of("plain", ["retrain"])
    cache = stored(tmp_path, "plain", [cell])
    oracle = zoo("classifiers", "plain").oracle.state_dict()
    with cache.lending():
        given = cache.needs(cell)["oracle"]
        given.pop("head.bias")
        given["head.weight"].zero_()
    lent = cache.needs(cell)["oracle"]
    assert all(torch.equal(lent[name], tensor) for name, tensor in oracle.items())


def test_a_sum_of_bits_sees_every_bit_of_every_type() -> None:
    """1.0 is 0x3f800000 in float32; True is 1."""
    assert bit_sum(torch.ones(2)).item() == 2 * 0x3F800000
    assert bit_sum(torch.tensor([True, False, True])).item() == 2
    assert bit_sum(torch.ones(1, dtype=torch.complex64)).item() == 0x3F800000
    assert bit_sum(torch.tensor(3)).item() == 3
    assert bit_sum(torch.tensor(-0.0)).item() != bit_sum(torch.tensor(0.0)).item()
