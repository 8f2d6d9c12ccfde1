"""The batched Fisher against the per-sample loop and against a closed form."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import BadInput, NotFinite
from unlearn.fisher.classifiers import classifier_fisher, per_image_fisher
from unlearn.fisher.diagonal import diagonal_fisher
from unlearn.models import build
from unlearn.objectives import negative_elbo
from unlearn.splits import Images
from unlearn.streams import seeded, stream


def loop(model: nn.Module, loss: Callable[[int], Tensor], n: int) -> dict[str, Tensor]:
    """The slow route: one backward pass per sample."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for i in range(n):
        model.zero_grad()
        loss(i).backward()
        for name, p in model.named_parameters():
            total[name] += p.grad.square() if p.grad is not None else 0
    return {name: t / n for name, t in total.items()}


def net(layers: Callable[[], nn.Module]) -> nn.Module:
    with seeded(0, "net"):
        return layers().double().eval()


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)),
        (6,),
    ),
    "tokens": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Flatten(), nn.Linear(15, 3)),
        (3, 4),
    ),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        ),
        (2, 8, 8),
    ),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2, dilation=2, bias=False), nn.Flatten(), nn.Linear(96, 3)
        ),
        (4, 8, 8),
    ),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 2, 4, 2, 1), nn.Flatten(), nn.Linear(128, 3)),
        (3, 4, 4),
    ),
}


@pytest.mark.parametrize("kind", NETS)
def test_the_diagonal_equals_the_per_sample_loop(kind: str) -> None:
    model = net(NETS[kind][0])
    x = torch.randn(7, *NETS[kind][1], generator=stream(1, kind), dtype=torch.float64)
    y = torch.randint(3, (7,), generator=stream(2, kind))
    batched = diagonal_fisher(model, [lambda: F.cross_entropy(model(x), y, reduction="none")])
    slow = loop(model, lambda i: F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), 7)
    for name, expected in slow.items():
        torch.testing.assert_close(batched[name], expected, rtol=1e-10, atol=1e-14)


def test_the_diagonal_of_a_cvae_equals_the_loop_under_the_same_noise() -> None:
    model = build("cvae-mlp", (1, 6, 6), 3).double()
    x = torch.rand(5, 1, 6, 6, generator=stream(0, "x"), dtype=torch.float64)
    c = F.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3).double()
    batched = diagonal_fisher(model, [lambda: negative_elbo(model, x, c, stream(3, "z"))])

    def one(i: int) -> Tensor:  # the loss of sample i, its noise taken from the whole batch's
        return negative_elbo(model, x, c, stream(3, "z"))[i]

    for name, expected in loop(model, one, 5).items():
        torch.testing.assert_close(batched[name], expected, rtol=1e-9, atol=1e-13)


def test_closed_form_of_logistic_regression() -> None:
    """Under the model's own labels F_jj = E[p (1 - p) x_j^2]; both labels weighted, so exact."""
    model = net(lambda: nn.Linear(4, 1))
    x = torch.randn(50, 4, generator=stream(0, "x"), dtype=torch.float64)
    p = model(x).sigmoid().detach()

    def fisher(label: float) -> dict[str, Tensor]:
        """Losses times sqrt(P(label)): their squared gradients sum to the mean over labels."""
        weight = (p if label else 1 - p).sqrt()
        target = torch.full_like(p, label)

        def per_sample() -> Tensor:
            losses = F.binary_cross_entropy_with_logits(model(x), target, reduction="none")
            output: Tensor = (weight * losses).squeeze(1)
            return output

        return diagonal_fisher(model, [per_sample])

    total = {name: fisher(0.0)[name] + fisher(1.0)[name] for name in ("weight", "bias")}
    torch.testing.assert_close(total["weight"], (p * (1 - p) * x.square()).mean(0, keepdim=True))
    torch.testing.assert_close(total["bias"], (p * (1 - p)).mean(0))


def test_batches_do_not_change_the_mean() -> None:
    model = net(NETS["linear"][0])
    x = torch.randn(9, 6, generator=stream(4, "x"), dtype=torch.float64)

    def losses(part: Tensor) -> Callable[[], Tensor]:
        return lambda: model(part).square().sum(1)

    whole = diagonal_fisher(model, [losses(x)])
    parts = diagonal_fisher(model, [losses(part) for part in x.split(4)])
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name])


def test_a_linear_layer_by_hand() -> None:
    """y = w x + b, loss y: dy/dw = x and dy/db = 1; for x = 1, 2, 3 the means are 14/3 and 1."""
    model, x = nn.Linear(1, 1), torch.tensor([[1.0], [2.0], [3.0]])
    fisher = diagonal_fisher(model, [lambda: model(x).squeeze(1)])
    assert fisher["weight"].item() == pytest.approx(14 / 3)
    assert fisher["bias"].item() == pytest.approx(1.0)


def test_an_overflow_is_refused_with_the_parameters_name() -> None:
    model, x = nn.Linear(1, 1), torch.full((2, 1), 1e30)  # squared it is beyond float32
    with pytest.raises(NotFinite, match="Fisher of 'weight' is not finite"):
        diagonal_fisher(model, [lambda: model(x).squeeze(1)])
    broken = nn.Linear(1, 2)
    with torch.no_grad():
        broken.weight.copy_(torch.tensor([[torch.nan], [0.0]]))
    classifier = nn.Sequential(nn.Flatten(), broken)
    images = Images(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), torch.tensor([0]))
    with pytest.raises(NotFinite, match=r"Fisher of '1\.weight' is not finite"):
        per_image_fisher(classifier, images)


def four_classified_images() -> tuple[nn.Module, Images]:
    """A linear classifier of one pixel with weights 0, so every class has probability 1/2."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    x = torch.tensor([51, 102, 153, 204], dtype=torch.uint8).view(4, 1, 1, 1)  # 0.2 to 0.8
    return model, Images(x, torch.tensor([0, 1, 1, 0]))


def test_a_classifiers_fisher_by_hand() -> None:
    """A logit's gradient is 1/2 or -1/2, a weight's half of x: (.04 + .16 + .36 + .64) / 16."""
    model, images = four_classified_images()
    for fisher in (
        classifier_fisher(model, images, 9, stream(0, "")),
        per_image_fisher(model, images),
    ):
        assert fisher["1.weight"].flatten().tolist() == pytest.approx([0.075, 0.075])
        assert fisher["1.bias"].tolist() == pytest.approx([0.25, 0.25])


def test_a_classifiers_fisher_is_of_as_many_images_as_asked_for() -> None:
    model, images = four_classified_images()
    chosen = torch.randperm(4, generator=stream(0, "two"))[:2]
    x = images.pixels().flatten()[chosen]
    fisher = classifier_fisher(model, images, 2, stream(0, "two"))
    assert fisher["1.weight"][0].item() == pytest.approx((x.square().mean() / 4).item())
    with pytest.raises(BadInput, match="samples must be at least 1, not 0"):
        classifier_fisher(model, images, 0, stream(0, "two"))


def test_a_layer_that_mixes_samples_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    with pytest.raises(BadInput, match="eval"):
        diagonal_fisher(model, [lambda: model(torch.rand(3, 1, 5, 5)).flatten(1).sum(1)])
    with pytest.raises(BadInput, match="no samples"):
        diagonal_fisher(nn.Linear(1, 1), [])
