"""Checkpoints as people find them: what is read, what is taken, what is refused and how."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from unlearn.errors import BadInput
from unlearn.models.weights_file import fitting, load_weights, read_checkpoint

STATE = {"body.weight": torch.ones(2, 3), "body.bias": torch.zeros(2)}
OTHER = {"body.weight": torch.full((2, 3), 7.0), "body.bias": torch.zeros(2)}


def saved(folder: Path, content: Any, name: str = "net.pth", **how: Any) -> str:
    torch.save(content, folder / name, **how)
    return str(folder / name)


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize("name", ["a.pth.tar", "a.ckpt", "a.bin", "a.PT", "a.pt", "a", "a.weights"])
def test_a_file_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, STATE, name)
    assert read_checkpoint(path).tensors.keys() == STATE.keys()
    safetensors.torch.save_file(STATE, path)
    assert read_checkpoint(path).tensors.keys() == STATE.keys()


def test_the_format_of_torch_1_5_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, STATE, _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(path).tensors["body.weight"], STATE["body.weight"])


OPTIMIZER = {"state": {0: {"step": torch.ones(())}}, "momenta": {"body.weight": torch.ones(2, 3)}}
NESTED: dict[str, tuple[Any, str]] = {
    "state_dict": ({"epoch": 3, "state_dict": STATE, "optimizer": OPTIMIZER}, "'state_dict'"),
    "params": ({"params": STATE}, "'params'"),
    "model_ema": ({"model_ema": STATE, "epoch": 1}, "'model_ema'"),
    "any name": ({"generator": STATE, "epoch": 1}, "'generator'"),
    "deep": ({"model": {"student": {"weights": STATE}}}, "'model.student.weights'"),
    "beside its average": (
        {"state_dict_ema": OTHER, "state_dict": STATE},
        "'state_dict', not 'state_dict_ema'; to use another one, save it alone",
    ),
    "the average of BasicSR": (
        {"params_ema": OTHER, "params": STATE},
        "'params', not 'params_ema'",
    ),
    "the state itself": (STATE, ""),
}


@pytest.mark.parametrize("case", NESTED)
def test_a_nested_state_dict_is_found_and_named(tmp_path: Path, case: str) -> None:
    content, named = NESTED[case]
    checkpoint = read_checkpoint(saved(tmp_path, content))
    assert torch.equal(checkpoint.tensors["body.weight"], STATE["body.weight"])
    assert named in checkpoint.describe()
    assert bool(named) == bool(checkpoint.describe())


NUMPY = r"holds numpy.*scalar beside tensors, which may run code; save its state dict alone"
BROKEN: dict[str, tuple[Any, str]] = {
    "numpy scalar": ({"state_dict": STATE, "best": np.float64(0.5)}, NUMPY),
    "a whole module": (nn.Linear(2, 2), r"holds torch.nn.modules.linear.Linear beside tensors"),
    "arguments": ({"state_dict": STATE, "args": argparse.Namespace()}, "holds argparse.Namespace"),
    "two networks": (
        {"generator": STATE, "critic": STATE},
        "several .*'generator', 'critic'; save",
    ),
    "a number among tensors": ({**STATE, "epoch": 3}, "no state dict .*: its 'epoch' is a int;"),
    "a list": ([torch.ones(1)], "no state dict .*: it is a list"),
    "nothing": ({}, "no state dict"),
    "HTML": (b"\n<!DOCTYPE html>\n<html>", "an HTML page; download the file itself"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid", "pointer; .*git lfs pull"),
    "empty": (b"", "is empty; download it again"),
    "noise": (b"0123456789", "neither safetensors nor torch.save wrote it"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_checkpoint_is_refused_in_our_words(tmp_path: Path, case: str) -> None:
    content, reason = BROKEN[case]
    path = tmp_path / "net.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(BadInput, match=reason) as raised:
        read_checkpoint(str(path))
    words = str(raised.value)
    assert "\n" not in words
    assert not any(advice in words for advice in ("trust", "weights_only=False", "allowlist"))


@pytest.mark.parametrize("kind", ["torch", "legacy", "safetensors"])
def test_a_file_that_is_cut_off_says_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net"
    if kind == "safetensors":
        safetensors.torch.save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "torch")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(BadInput, match=r"cut off or damaged.*; download it again"):
        read_checkpoint(str(path))


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "net.", "_orig_mod.", "_orig_mod.module.", "module.model.", ""]
)
def test_a_prefix_that_all_names_have_is_dropped(prefix: str) -> None:
    assert fitting(prefixed(prefix), STATE).keys() == STATE.keys()


@pytest.mark.parametrize("own", ["module.", "net.", "model."])
@pytest.mark.parametrize("wrapped", ["", "module.", "_orig_mod."])
def test_a_prefix_that_the_network_has_itself_stays(own: str, wrapped: str) -> None:
    assert fitting(prefixed(wrapped + own), prefixed(own)).keys() == prefixed(own).keys()


def test_a_prefix_that_not_all_names_have_stays() -> None:
    mixed = {"module.weight": torch.ones(1), "bias": torch.ones(1)}
    assert fitting(mixed, ["weight", "bias"]).keys() == mixed.keys()


def test_counters_of_averaging_and_profiling_are_dropped_unless_the_network_has_them() -> None:
    counted = {
        **prefixed("module."),
        "n_averaged": torch.tensor(5),
        "module.body.total_ops": torch.zeros(1),
        "total_params": torch.zeros(1),
    }
    assert fitting(counted, STATE).keys() == STATE.keys()
    own = {**STATE, "n_averaged": torch.tensor(0)}
    assert fitting({**STATE, "n_averaged": torch.tensor(5)}, own).keys() == own.keys()


def test_the_average_of_torch_loads(tmp_path: Path) -> None:
    network, other = nn.Linear(2, 2), nn.Linear(2, 2)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    load_weights("x", other, saved(tmp_path, averaged.state_dict()))
    assert torch.equal(other.weight, network.weight)


def test_a_misfit_counts_and_names_a_few(tmp_path: Path) -> None:
    network = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(5)))
    given = {"4.weight": torch.ones(3, 2), "5.weight": torch.ones(2, 2)}
    with pytest.raises(BadInput) as raised:
        load_weights("x", network, saved(tmp_path, given))
    assert (
        "does not fit it: 4 missing (0.weight, 1.weight, 2.weight, ...), "
        "1 unexpected (5.weight), 1 of another shape (4.weight: (3, 2) for (2, 2)); "
        "give weights of this model"
    ) in str(raised.value)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.model."])
def test_timms_weights_load_under_any_prefix(tmp_path: Path, prefix: str) -> None:
    import timm

    from unlearn.models import build

    theirs: Any = timm.create_model("resnet10t", num_classes=7)
    state = {f"{prefix}{name}": tensor for name, tensor in theirs.state_dict().items()}
    path = saved(tmp_path, {"state_dict": state})
    model = build("resnet10t", (3, 32, 32), 10, options={"weights": path})
    assert torch.equal(model.net.conv1[0].weight, theirs.conv1[0].weight)
    ours = saved(tmp_path, {f"{prefix}{name}": t for name, t in model.state_dict().items()})
    again = build("resnet10t", (3, 32, 32), 10, options={"weights": ours})
    assert torch.equal(again.head.weight, model.head.weight)
