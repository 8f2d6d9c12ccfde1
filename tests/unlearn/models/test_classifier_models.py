"""Classifiers of our own, of torchvision, of timm and of the user, through one interface."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import StochasticDepth

import unlearn.models.timm_model as timm_model
from unlearn.augment import AUGMENTS
from unlearn.errors import BadInput
from unlearn.fisher.classifiers import classifier_fisher, formulas_hold, per_image_fisher
from unlearn.models import build, library_of, task_of
from unlearn.models.fresh import fresh
from unlearn.splits import Images
from unlearn.streams import globally, layer_noise, stream
from unlearn.train import Training, fit

VIT = {"img_size": 32, "patch_size": 16}
OWN = "tests.unlearn.models.own_models"
KINDS: dict[str, tuple[str, tuple[int, int, int], dict[str, Any]]] = {
    "resnet18": ("resnet18", (3, 32, 32), {}),
    "mobilenet_v2": ("mobilenet_v2", (3, 32, 32), {}),
    "mobilenet_v2 stock": ("mobilenet_v2", (1, 28, 28), {"stem": "stock"}),
    "vgg11_bn small": ("vgg11_bn", (3, 32, 32), {"head": "small"}),
    "vit": ("vit_tiny_patch16_224", (3, 32, 32), VIT),
    "timm's own": ("timm:resnet10t", (1, 28, 28), {}),
    "the user's": (f"{OWN}:plain", (1, 28, 28), {"width": 12}),
    "the user's, ready": (f"{OWN}:ready", (1, 28, 28), {}),
}
PARAMETERS = {"resnet18": 11_173_962, "mobilenet_v2": 2_236_682, "vgg11_bn": 128_812_810}


def build_kind(kind: str) -> tuple[Any, tuple[int, int, int]]:
    name, shape, options = KINDS[kind]
    with globally(stream(0, kind)):
        return build(name, shape, 10, options=options), shape


def random_images(shape: tuple[int, int, int], n: int = 3) -> Images:
    generator = stream(0, "some")
    x = torch.randint(256, (n, *shape), generator=generator, dtype=torch.uint8)
    return Images(x, torch.arange(n) % 10)


@pytest.mark.parametrize("kind", KINDS)
def test_every_classifier_has_features_a_head_and_a_task(kind: str) -> None:
    model, shape = build_kind(kind)
    assert task_of(KINDS[kind][0]) == model.task == "classifier"
    assert not model.training
    with torch.no_grad():
        x = random_images(shape).pixels()
        features, logits = model.features(x), model(x)
    assert logits.shape == (3, 10)
    assert features.dim() == 2
    assert torch.equal(model.head(features), logits)


@pytest.mark.parametrize("kind", ["resnet18", "mobilenet_v2", "vgg11_bn small"])
def test_the_layout_of_images_changes_no_answer(kind: str) -> None:
    model, shape = build_kind(kind)
    seen: list[torch.Tensor] = []
    model.net.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    x = random_images(shape).pixels()
    with torch.no_grad():
        ours = model(x)
        model.layout = torch.contiguous_format
        plain = model(x)
    assert [each.is_contiguous() for each in seen] == [False, True]
    assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_go_out_and_come_back(kind: str) -> None:
    model, shape = build_kind(kind)
    name, _, options = KINDS[kind]
    back = build(
        name, shape, 10, model.state_dict(), {**options, "weights": "/nowhere.safetensors"}
    )
    assert torch.equal(back(random_images(shape).pixels()), model(random_images(shape).pixels()))
    assert (
        safetensors.torch.load(safetensors.torch.save(model.state_dict())).keys()
        == model.state_dict().keys()
    )


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_networks_have_the_sizes_of_the_references(name: str) -> None:
    with torch.device("meta"):
        model = build(name, (3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


def test_stems_keep_the_resolution() -> None:
    x = torch.zeros(1, 3, 32, 32)
    resnet, mobile = build("resnet18", (3, 32, 32), 10), build("mobilenet_v2", (3, 32, 32), 10)
    assert resnet.net.maxpool(resnet.net.conv1(x)).shape[2:] == (32, 32)
    assert mobile.net.features(x).shape[2:] == (4, 4)
    stock = build("mobilenet_v2", (3, 32, 32), 10, options={"stem": "stock"})
    assert stock.net.features(x).shape[2:] == (1, 1)


def test_pixels_are_normalised_first() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    model = build("resnet18", (3, 32, 32), 10, options={"mean": mean, "std": std})
    x = random_images((3, 32, 32)).pixels()
    by_hand = torch.stack([(x[:, i] - mean[i]) / std[i] for i in range(3)], 1)
    torch.testing.assert_close(model.normalise(x), by_hand)
    assert not any(key.startswith("normalise") for key in model.state_dict())
    with pytest.raises(BadInput, match="std must be above 0"):
        build("resnet18", (3, 32, 32), 10, options={"std": [1, 0, 1]})
    with pytest.raises(BadInput, match="2 entries for 3 channels"):
        build("resnet18", (3, 32, 32), 10, options={"mean": [1, 0]})


def test_normalisation_defaults_to_cifar10_in_colour_and_to_half_in_grey() -> None:
    x = torch.tensor([0.5, 0.75]).view(2, 1, 1, 1)
    grey = build("resnet18", (1, 8, 8), 10).normalise
    assert grey(x).flatten().tolist() == pytest.approx([0.0, 0.5])
    colour = build("resnet18", (3, 8, 8), 10).normalise
    red_green_blue = [0.4914 + 0.2470, 0.4822 + 0.2435, 0.4465 + 0.2616]  # one deviation up
    pixel = torch.tensor(red_green_blue).view(1, 3, 1, 1)
    assert colour(pixel).flatten().tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_timms_networks_are_normalised_as_timm_trained_them() -> None:
    """ImageNet's statistics, or their mean where the channels are not three."""
    colour = build("timm:resnet10t", (3, 32, 32), 10).normalise
    assert colour.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert colour.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    grey = build("timm:resnet10t", (1, 32, 32), 10).normalise
    assert grey.mean.flatten().tolist() == pytest.approx([0.449])
    assert grey.std.flatten().tolist() == pytest.approx([0.226])


def test_the_users_network_is_normalised_as_its_options_say() -> None:
    x = random_images((1, 28, 28)).pixels()
    with globally(stream(0, "user")):
        plain = build(f"{OWN}:plain", (1, 28, 28), 10)
    with globally(stream(0, "user")):
        normed = build(f"{OWN}:plain", (1, 28, 28), 10, options={"mean": [0.5], "std": [0.25]})
    torch.testing.assert_close(normed(x), plain((x - 0.5) / 0.25))


def test_the_cnn_by_hand() -> None:
    """28 x 28 is pooled twice to 7 x 7; 20 x 9 to 5 x 2."""
    convs = (16 * 9 + 16) + (32 * 16 * 9 + 32)
    norms = 2 * 16 + 2 * 32
    linear = (32 * 7 * 7 * 64 + 64) + (64 * 10 + 10)
    model = build("cnn", (1, 28, 28), 10)
    assert sum(p.numel() for p in model.parameters()) == convs + norms + linear
    odd = build("cnn", (2, 20, 9), 3, options={"width": 4})
    assert odd.hidden.in_features == 8 * 5 * 2
    assert odd(torch.rand(5, 2, 20, 9)).shape == (5, 3)


def test_the_dropout_of_vgg_is_an_option() -> None:
    model = build("vgg11_bn", (3, 32, 32), 10, options={"head": "small", "dropout": 0.25})
    assert [layer.p for layer in model.net.modules() if isinstance(layer, nn.Dropout)] == [0.25]


@pytest.mark.parametrize("kind", ["mobilenet_v2 stock", "vit", "the user's"])
def test_the_fisher_covers_it(kind: str) -> None:
    model, shape = build_kind(kind)
    images = random_images(shape, 4)
    fisher, slow = (
        classifier_fisher(model, images, 4, stream(0, "")),
        per_image_fisher(model, images),
    )
    assert set(fisher) == set(slow) == {name for name, _ in model.named_parameters()}
    for name in fisher:
        torch.testing.assert_close(
            fisher[name], slow[name], rtol=1e-3, atol=1e-6 * slow[name].max().item() + 1e-12
        )
    assert formulas_hold(model, images.take(torch.zeros(1, dtype=torch.int64))) == (kind != "vit")


class Odd(nn.Module):
    """A network on which the layers' formulas are wrong; `how` says why."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        padding: Any = "same" if how == "padding" else 1
        self.first, self.again = nn.Conv2d(3, 4, 3, padding=padding), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 10)
        self.tied = nn.Conv2d(4, 4, 3, padding=1)
        if how == "tied":
            self.tied.weight = self.again.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.again(self.first(x)).relu())
        if self.how == "twice":
            x = self.again(x).relu()
        if self.how == "norm twice":
            x = self.norm(x)
        x = self.tied(x).mean((2, 3))
        if self.how == "outside":
            return F.linear(x, F.normalize(self.head.weight))
        logits: torch.Tensor = self.head(x)
        return logits


@pytest.mark.parametrize("how", ["plain", "twice", "norm twice", "tied", "outside", "padding"])
def test_the_fisher_is_right_where_the_formulas_are_not(how: str) -> None:
    torch.manual_seed(0)
    model, images = Odd(how).eval(), random_images((3, 8, 8), 6)
    fisher, slow = (
        classifier_fisher(model, images, 6, stream(0, "")),
        per_image_fisher(model, images),
    )
    assert set(fisher) == set(slow)
    for name in fisher:
        torch.testing.assert_close(
            fisher[name], slow[name], rtol=1e-3, atol=1e-6 * slow[name].max().item() + 1e-12
        )
    assert formulas_hold(model, images.take(torch.zeros(1, dtype=torch.int64))) == (how == "plain")
    assert slow["again.weight"].max() > 0


@pytest.mark.parametrize("kind", ["mobilenet_v2", "vit"])
def test_fresh_weights_follow_from_the_stream_alone(kind: str) -> None:
    model, _ = build_kind(kind)
    before, noise = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    one, same, other = (fresh(model, stream(seed, "fresh")) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    for (name, p), q, r in zip(
        one.named_parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(p, q)
        assert p.dim() == 1 or not torch.equal(p, r), name


def test_fresh_parameters_without_a_layers_reset_have_a_deviation_of_2_percent() -> None:
    model, _ = build_kind("vit")
    model.built_as = None  # by its builder it starts as timm starts it
    token = fresh(model, stream(0, "fresh")).net.cls_token  # 192 numbers
    assert 0.016 < token.std().item() < 0.024


def test_dropout_follows_the_generator_and_nothing_else_does() -> None:
    with globally(stream(0, "")):
        model = build(f"{OWN}:dropping", (1, 28, 28), 10)
    images, plan = random_images((1, 28, 28), 20), Training(steps=3, batch=20)
    runs: list[torch.Tensor] = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(runs))  # must not matter
        runs.append(fit(model, images, plan, stream(seed, "train"))[0]["head.weight"])
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    deep = nn.Sequential(StochasticDepth(0.5, "row"))
    x, outputs = torch.ones(64, 2), []
    for _ in range(2):
        with layer_noise(deep, stream(0, "depth")):
            outputs.append(deep(x))
    assert torch.equal(*outputs)
    assert 0 < (outputs[0] == 0).float().mean() < 1
    generator = stream(0, "untouched")
    with layer_noise(build("cnn", (1, 28, 28), 10), generator):
        pass
    assert torch.equal(generator.get_state(), stream(0, "untouched").get_state())


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown name": ("nonsense", {}, "unknown model 'nonsense'; known: .*any timm name"),
    "unknown timm name": ("timm:nonsense", {}, "timm knows no model 'nonsense'"),
    "unknown option": ("resnet18", {"depth": 3}, "cannot be built with the options"),
    "a width below 1": ("cnn", {"width": -1}, "cannot be built with the options"),
    "a probability above 1": ("vgg11_bn", {"dropout": 2}, "cannot be built with the options"),
    "no number": ("mobilenet_v2", {"mean": ["a"]}, "cannot be built with the options"),
    "the user's of no width": (f"{OWN}:plain", {"width": -1}, "cannot be built with"),
    "an option timm does not take": ("resnet10t", {"patch_size": 3}, "does not take .*patch_size"),
    "no such module": ("no.such:thing", {}, "cannot import no.such"),
    "no such builder": (f"{OWN}:nothing", {}, "has no nothing"),
    "not a module": (f"{OWN}:number", {}, "must return a torch module, not int"),
    "no head": (f"{OWN}:headless", {}, "has no linear layer"),
    "head not last": (f"{OWN}:squashed", {}, "is not its last step"),
    "too many outputs": (f"{OWN}:plain", {"num_classes": 12}, r"answers \(2, 12\)"),
    "no such file": ("resnet18", {"weights": "/nowhere.safetensors"}, "does not exist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_names_and_options_are_refused(case: str) -> None:
    name, options, message = REFUSED[case]
    with pytest.raises(BadInput, match=message):
        build(name, (1, 28, 28), 10, options=options)


def test_weights_that_cannot_be_downloaded_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    message = r"could not be downloaded.*weights: PATH, or pretrained: false"
    with pytest.raises(BadInput, match=message):
        timm_model.create_backbone("vit_tiny_patch16_224", pretrained=True)


def test_timm_weights_from_a_file_as_timm_saves_them(tmp_path: Path) -> None:
    import timm

    theirs: Any = timm.create_model("resnet10t", num_classes=1000)
    path = tmp_path / "resnet10t.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    model = build("resnet10t", (3, 32, 32), 10, options={"weights": str(path)})
    assert torch.equal(model.net.conv1[0].weight, theirs.conv1[0].weight)
    own = tmp_path / "ours.safetensors"
    safetensors.torch.save_file(model.state_dict(), own)
    again = build("resnet10t", (3, 32, 32), 10, options={"weights": str(own)})
    assert torch.equal(again.head.weight, model.head.weight)


def test_the_users_weights_load_in_the_users_naming(tmp_path: Path) -> None:
    from tests.unlearn.models.own_models import plain

    theirs = plain(num_classes=10).eval()
    tensors, wrapped = tmp_path / "own.safetensors", tmp_path / "own.pt"
    safetensors.torch.save_file(theirs.state_dict(), tensors)
    torch.save(
        {"state_dict": {f"module.{key}": t for key, t in theirs.state_dict().items()}}, wrapped
    )
    x = random_images((1, 28, 28)).pixels()
    for path in (tensors, wrapped):
        model = build(f"{OWN}:plain", (1, 28, 28), 10, options={"weights": str(path)})
        torch.testing.assert_close(model(x), theirs(x))
    with pytest.raises(BadInput, match="does not fit it"):
        build(f"{OWN}:plain", (1, 28, 28), 10, options={"weights": str(tensors), "width": 9})
    with pytest.raises(BadInput, match="does not fit it"):
        build("resnet18", (1, 28, 28), 10, options={"weights": str(tensors)})


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("code from a weights file ran",))


def test_a_weights_file_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(BadInput, match="cannot be read safely"):
        build("resnet18", (1, 28, 28), 10, options={"weights": str(path)})
    assert "ran" not in capsys.readouterr().out
    (tmp_path / "weights.bin").write_bytes(b"0")
    with pytest.raises(BadInput, match="neither safetensors nor"):
        build("resnet18", (1, 28, 28), 10, options={"weights": str(tmp_path / "weights.bin")})


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("resnet18", "torchvision"),
        ("timm:resnet18", "timm"),
        ("cnn", ""),
        ("cvae-mlp", ""),
        ("tests.unlearn.zoo.classifiers:plain", ""),
    ],
)
def test_a_model_names_the_library_that_its_builder_imports(name: str, library: str) -> None:
    assert library_of(name) == library


def test_importing_the_models_imports_neither_timm_nor_torchvision() -> None:
    code = (
        "import sys, unlearn.models; "
        "print([name for name in ('timm', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_crop_and_flip_moves_whole_pixels() -> None:
    x = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).view(2, 3, 8, 8) + 1
    x = x.repeat(200, 1, 1, 1)
    moved = AUGMENTS["crop-flip"](x, stream(0, "crop"))
    assert moved.shape == x.shape
    assert torch.equal(moved, AUGMENTS["crop-flip"](x, stream(0, "crop")))
    padded = nn.functional.pad(x, (4, 4, 4, 4))
    every_crop = padded.unfold(2, 8, 1).unfold(3, 8, 1)
    windows = every_crop[0]  # of the first image: (3, 9, 9, 8, 8)
    crops = windows.permute(1, 2, 0, 3, 4).flatten(0, 1)
    both = torch.cat([crops, crops.flip(-1)])
    seen = set()
    for image in moved[::2]:
        matches = (both == image).flatten(1).all(1).nonzero().flatten().tolist()
        assert matches
        seen.add(matches[0])
    assert len(seen) > 60
    assert any(i < 81 for i in seen)
    assert any(i >= 81 for i in seen)
