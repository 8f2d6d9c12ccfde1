"""On a CUDA device a captured run gives what an eager one gives: the same draws, the same weights
up to rounding."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attacks import make_attack
from unlearn.attacks.base import Target
from unlearn.attacks.classifiers.relearning import Course, Relearning
from unlearn.attacks.generators.base import Context
from unlearn.attacks.generators.relearn import Relearn
from unlearn.attacks.generators.strongest_relearn import relearn_together
from unlearn.capture import StepReport, eager_steps, step_reports
from unlearn.errors import NotFinite
from unlearn.generators.judges import NON_IMAGES, Judge, build_judge, train_judge
from unlearn.methods import base, make_method
from unlearn.models import Weights, build
from unlearn.models.base import Classifying
from unlearn.splits import Images, Split, Splits
from unlearn.stacked import fit_together
from unlearn.streams import seeded, stream
from unlearn.train import Curve, Schedule, Training, fit

Run = Callable[[torch.Generator], tuple[Weights, Curve]]


@dataclass(frozen=True)
class Ran:
    """What one run left behind: weights, curve, the generator's state, how its steps ran."""

    weights: Weights
    curve: Curve
    state: Tensor
    report: StepReport


def ran(run: Run) -> Ran:
    generator = stream(0, "run", device="cuda")
    with step_reports() as reports:
        weights, curve = run(generator)
    torch.cuda.synchronize()
    return Ran(weights, curve, generator.get_state(), reports[-1])


def both(run: Run) -> tuple[Ran, Ran]:
    """`run` captured and eager, each from the same generator."""
    captured = ran(run)
    with eager_steps():
        eager = ran(run)
    assert not eager.report.captured
    return captured, eager


def apart(one: Weights, other: Weights, start: nn.Module) -> float:
    """Distance of two sets of weights, as a share of the way from where training started."""
    began = dict(start.named_parameters())
    between = sum(float((one[name] - other[name]).square().sum()) for name in began)
    way = sum(float((other[name] - p).detach().square().sum()) for name, p in began.items())
    return float((between / way) ** 0.5)


def check(run: Run, start: nn.Module, tolerance: float, replayed: int) -> Ran:
    """Both ways draw the same numbers and end close together; most steps were replayed."""
    captured, eager = both(run)
    distance = apart(captured.weights, eager.weights, start)
    print(f"\n{start.__class__.__name__}: apart {distance:.2e}, {captured.report}")
    assert captured.report.captured, captured.report.obstacle
    assert captured.report.replayed >= replayed
    assert torch.equal(captured.state, eager.state)
    assert distance < tolerance
    assert captured.curve["step"] == eager.curve["step"]
    for name, values in eager.curve.items():
        assert captured.curve[name] == pytest.approx(values, rel=0.05, abs=0.02)
    return captured


def network(name: str, shape: tuple[int, int, int]) -> Any:
    with seeded(0, "gpu"):
        return build(name, shape, 10).eval().cuda()


@pytest.fixture(scope="module")
def cvae(grey: Images) -> Any:
    """A generator after 200 eager steps."""
    model = network("cvae-mlp", (1, 28, 28))
    with eager_steps():
        weights, _ = fit(model, grey, Training(200, 64, 3e-3), stream(0, "cvae", device="cuda"))
    model.load_state_dict(weights)
    return model.eval()


@pytest.fixture(scope="module")
def cnn(grey: Images) -> Any:
    """A classifier after 100 eager steps."""
    model = network("cnn", (1, 28, 28))
    with eager_steps():
        weights, _ = fit(model, grey, Training(100, 64, 3e-3), stream(0, "cnn", device="cuda"))
    model.load_state_dict(weights)
    return model.eval()


def test_training_a_cvae(grey: Images) -> None:
    """Also over an epoch's end (31 steps) and with a critic, dropped latents, decay and an
    average."""
    start = network("cvae-mlp", (1, 28, 28))
    plan = Training(
        80, 64, 3e-3, kl_weight=1.5, label_critic=50.0, z_dropout=0.1, weight_decay=0.01, ema=0.9
    )
    check(lambda generator: fit(start, grey, plan, generator), start, 1e-3, replayed=77)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_training_by_other_schedules(grey: Images, schedule: str) -> None:
    start = network("cvae-mlp", (1, 28, 28))
    plan = Training(40, 64, 1e-3, schedule)
    check(lambda generator: fit(start, grey, plan, generator), start, 1e-3, replayed=37)


def test_training_a_resnet(colour: Images) -> None:
    start = network("resnet18", (3, 32, 32))
    plan = Training(
        45,
        128,
        0.05,
        optimizer="sgd",
        weight_decay=5e-4,
        augment="crop-flip",
        ema=0.99,
        precision="bf16",
        channels_last=True,
        label_smoothing=0.1,
    )
    check(lambda generator: fit(start, colour, plan, generator), start, 0.05, replayed=42)


def test_training_with_dropout_and_moved_images(grey: Images) -> None:
    """Dropout draws from the device's own generator, seeded from the run's."""

    class Dropping(Classifying):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Dropout(0.3))
            self.head = nn.Linear(64, 10)

        def features(self, x: Tensor) -> Tensor:
            body: Tensor = self.body(x)
            return body

    with seeded(0, "dropping"):
        start = Dropping().cuda()
    plan = Training(60, 64, 3e-3, augment="affine")
    check(lambda generator: fit(start, grey, plan, generator), start, 1e-3, replayed=57)


@pytest.mark.parametrize(
    ("name", "knobs", "replayed"),
    [
        ("selective-amnesia", {"lam": 100.0}, 57),
        ("selective-amnesia", {"lam": 10.0, "replay": "pool", "pool": 500}, 57),
        ("robust-amnesia", {}, 50),  # its epochs begin after other draws: 2 steps from Python
    ],
)
def test_forgetting_with_a_generator(
    cvae: Any, splits: Splits, name: str, knobs: dict[str, Any], replayed: int
) -> None:
    fisher = {name: torch.ones_like(p) for name, p in cvae.named_parameters()}

    def run(generator: torch.Generator) -> tuple[Weights, Curve]:
        method = make_method(name, {"steps": 60, "batch": 64, **knobs})
        made = method(cvae, splits, generator, fisher=fisher)
        return made.weights, made.curve

    check(run, cvae, 1e-3, replayed)


@pytest.mark.parametrize(
    ("name", "knobs", "replayed"),
    [
        ("salun", {}, 57),
        ("salun", {"augment": "affine"}, 30),  # a forgotten epoch is 3 steps
        ("scrub", {"msteps": 25}, 54),  # two captures: with the ascent, then without
        ("l1-sparse", {}, 57),
        ("bad-teacher", {}, 57),
        ("cf-k", {}, 57),
    ],
)
def test_forgetting_with_a_classifier(
    cnn: Any, splits: Splits, name: str, knobs: dict[str, Any], replayed: int
) -> None:
    def run(generator: torch.Generator) -> tuple[Weights, Curve]:
        method = make_method(name, {"steps": 60, "batch": 64, **knobs})
        made = method(cnn, splits, generator)
        return made.weights, made.curve

    check(run, cnn, 1e-3, replayed)


@pytest.mark.parametrize(
    ("name", "knobs", "replayed"), [("salun", {}, 57), ("scrub", {"msteps": 25}, 54)]
)
def test_forgetting_in_bf16_and_channels_last(
    cnn: Any, splits: Splits, name: str, knobs: dict[str, Any], replayed: int
) -> None:
    """Captured as eager, and both near what fp32 gives, by SGD: Adam makes much of a rounding."""
    plain = {"steps": 60, "batch": 64, "optimizer": "sgd", "lr": 1e-3, **knobs}
    faster = {**plain, "precision": "bf16", "channels_last": True}

    def run(chosen: dict[str, Any], generator: torch.Generator) -> tuple[Weights, Curve]:
        made = make_method(name, chosen)(cnn, splits, generator)
        return made.weights, made.curve

    captured = check(partial(run, faster), cnn, 0.05, replayed)
    fp32 = ran(partial(run, plain))
    distance = apart(captured.weights, fp32.weights, cnn)
    print(f"\n{name}: bf16 and fp32 apart {distance:.2e}")
    assert 0 < distance < 0.2
    assert torch.equal(captured.state, fp32.state)


@pytest.mark.parametrize("reject", [False, True])
def test_training_a_judge(grey: Images, reject: bool) -> None:
    with seeded(0, "judge"):
        start = build_judge(Judge("deep", 0, reject), (1, 28, 28), 10).cuda()
    weights = {name: tensor.clone() for name, tensor in start.state_dict().items()}

    def run(generator: torch.Generator) -> tuple[Weights, Curve]:
        model = build_judge(Judge("deep", 0, reject), (1, 28, 28), 10, weights).cuda()
        return train_judge(model, grey, Schedule(60, 64, 3e-3), generator, reject)

    check(run, start, 1e-3, replayed=57)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_blurred_noise_is_the_enlarged_corner(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    for seed in range(12):
        x = torch.zeros(4, *shape, device="cuda")
        found = NON_IMAGES["blurred-noise"](x, stream(seed, "blurred", device="cuda"))
        generator = stream(seed, "blurred", device="cuda")
        factor = int(torch.randint(2, 8, (1,), generator=generator, device="cuda"))
        largest = (4, channels, height // 2 + 1, width // 2 + 1)
        noise = torch.rand(largest, generator=generator, device="cuda")
        corner = noise[:, :, : height // factor + 1, : width // factor + 1]
        wanted = F.interpolate(corner, size=shape[1:], mode="bilinear", align_corners=False)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


class Reading(Classifying):
    """A linear classifier that does something on the host in every forward pass."""

    def __init__(self, on_host: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.on_host = on_host
        self.body, self.head = nn.Flatten(), nn.Linear(784, 10)

    def features(self, x: Tensor) -> Tensor:
        self.on_host(x)
        body: Tensor = self.body(x)
        return body


def reads(x: Tensor) -> object:
    return x.sum().item()


def reads_when_captured(x: Tensor) -> object:
    """Looks harmless until it is captured: the capture itself breaks."""
    return x.sum().item() if torch.cuda.is_current_stream_capturing() else None


def refuses_when_captured(x: Tensor) -> object:
    if torch.cuda.is_current_stream_capturing():
        raise ValueError("not like this")
    return None


@pytest.mark.parametrize(
    ("on_host", "obstacle"),
    [
        (reads, "reads a value of the device"),
        (reads_when_captured, "capture failed"),
        (refuses_when_captured, "capture failed: not like this"),
    ],
)
def test_what_cannot_be_captured_runs_from_python(
    grey: Images, on_host: Callable[[Tensor], object], obstacle: str
) -> None:
    with seeded(0, "reading"):
        start = Reading(on_host).cuda()
    plan = Training(40, 64, 3e-3, augment="affine")
    captured, eager = both(lambda generator: fit(start, grey, plan, generator))
    assert obstacle in captured.report.obstacle
    assert captured.report.replayed == 0
    assert torch.equal(captured.state, eager.state)
    assert captured.curve == eager.curve
    for name, tensor in eager.weights.items():
        assert torch.equal(captured.weights[name], tensor)


def test_after_a_failed_capture_the_next_run_is_captured(grey: Images) -> None:
    with seeded(0, "reading"):
        broken = Reading(reads_when_captured).cuda()
    start, plan = network("cvae-mlp", (1, 28, 28)), Training(40, 64, 3e-3)
    for _ in range(2):
        failed = ran(lambda generator: fit(broken, grey, plan, generator))
        assert "capture failed" in failed.report.obstacle
        check(lambda generator: fit(start, grey, plan, generator), start, 1e-3, replayed=37)


def test_a_watcher_sees_the_weights_of_every_step(cvae: Any, splits: Splits) -> None:
    """Replayed steps come with their weights, and a watcher that looks changes nothing."""
    seen: list[Tensor] = []

    def watch(step: int, model: nn.Module) -> None:
        seen.append(next(model.parameters()).detach().sum())

    fisher = {name: torch.ones_like(p) for name, p in cvae.named_parameters()}

    def run(generator: torch.Generator, **needs: Any) -> tuple[Weights, Curve]:
        method = make_method("selective-amnesia", {"steps": 30, "batch": 64})
        made = method(cvae, splits, generator, fisher=fisher, **needs)
        return made.weights, made.curve

    watched, plain = ran(lambda g: run(g, watch=watch)), ran(run)
    assert len({value.item() for value in seen}) == 31
    for name, tensor in plain.weights.items():
        assert torch.equal(watched.weights[name], tensor)


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("relearn-10", {"lr": 1e-3}),
        ("relearn-kept", {"reset_label": True}),
        ("relearn-strongest-10", {"rungs": 1, "reset_label": True}),
        ("kept-label", {"ball": True}),
        ("kept-label-strongest", {"rungs": 1, "ball": True}),
        ("latent-label", {}),
        ("label-only", {}),
        ("prototype", {}),
        ("ink", {}),
    ],
)
def test_attacks_on_a_generator(
    cvae: Any, cnn: Any, splits: Splits, name: str, knobs: dict[str, Any]
) -> None:
    """What an attacker draws in the end is the same, to within two of 255 levels a pixel."""
    attack: Any = make_attack(name, {"steps": 60, **knobs})
    context = Context(cvae, cnn, network("cnn", (1, 28, 28)), splits, (3,))

    def attacked() -> tuple[Tensor, StepReport]:
        with step_reports() as reports:
            found = attack.recover(cvae, context, stream(0, "attack", device="cuda"))
        return found.pictures.float(), reports[-1]

    captured, report = attacked()
    with eager_steps():
        eager, plain = attacked()
    assert report.captured, report.obstacle
    assert report.replayed == 57
    assert plain.replayed == 0
    assert float((captured - eager).abs().mean()) < 2


def test_relearning_at_two_rates_as_one_program(cvae: Any, cnn: Any, splits: Splits) -> None:
    """Every member draws what it draws from Python, and another picture than the other member."""
    attacks = [
        Relearn(per_class=10, steps=60, lr=1e-3),
        Relearn(per_class=10, steps=60, lr=1e-2, reset_label=True),
    ]
    context = Context(cvae, cnn, network("cnn", (1, 28, 28)), splits, (3,))

    def pictures() -> list[Tensor]:
        found = relearn_together(attacks, cvae, context, stream(0, "attack", device="cuda"))
        return [each.pictures.float() for each in found]

    with step_reports() as reports:
        captured = pictures()
    with eager_steps():
        eager = pictures()
    assert reports[-1].captured, reports[-1].obstacle
    for one, other in zip(captured, eager, strict=True):
        assert float((one - other).abs().mean()) < 2
    assert float((captured[0] - captured[1]).abs().mean()) > 2


def test_relearning_by_a_classifier(cnn: Any, splits: Splits) -> None:
    """The curves of accuracies are the same, to within 5 % of the images."""
    target = Target("relearning", None, splits, seed=0)

    def relearned() -> tuple[Course, StepReport]:
        with step_reports() as reports:
            course = Relearning(rehearse=True).course(target, cnn)
        return course, reports[-1]

    captured, report = relearned()
    with eager_steps():
        eager, _ = relearned()
    assert report.captured, report.obstacle
    assert captured.steps == eager.steps
    assert captured.forget == pytest.approx(eager.forget, abs=0.05)
    assert captured.retain == pytest.approx(eager.retain, abs=0.05)


@pytest.mark.parametrize("critic", [0.0, 50.0])
def test_stacked_members_give_what_they_give_alone(grey: Images, critic: float) -> None:
    """As one captured program; rounding differs, since a stack multiplies matrices in batches."""
    plan = Training(40, 64, 1e-3, label_critic=critic, z_dropout=0.1)
    with seeded(0, "stacked"):
        models = [build("cvae-mlp", (1, 28, 28), 10).cuda() for _ in range(3)]
    images = [grey, grey, grey.take(grey.y != 3)]
    generators = [stream(seed, "stacked", device="cuda") for seed in range(3)]
    with step_reports() as reports:
        found = fit_together(models, images, plan, generators)
    assert reports[0].captured, reports[0].obstacle
    assert reports[0].replayed == 37
    for seed, (model, some, made) in enumerate(zip(models, images, found, strict=True)):
        generator = stream(seed, "stacked", device="cuda")
        weights, curve = fit(model, some, plan, generator)
        assert not isinstance(made, NotFinite)
        distance = apart(made[0], weights, model)
        print(f"\nstacked member {seed}: apart {distance:.2e}")
        assert distance < 0.02
        assert torch.equal(generators[seed].get_state(), generator.get_state())
        assert made[1]["loss"] == pytest.approx(curve["loss"], rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov"])
def test_both_kinds_of_momentum(colour: Images, optimizer: str) -> None:
    """As the `full` preset trains, but for steps and batch."""
    start = network("resnet18", (3, 32, 32))
    plan = Training(
        30,
        64,
        0.05,
        optimizer=optimizer,
        augment="shift-flip",
        precision="bf16",
        channels_last=True,
    )
    check(lambda generator: fit(start, colour, plan, generator), start, 0.05, replayed=27)


def test_stacked_amnesia_gives_what_each_run_gives_alone(cvae: Any, grey: Images) -> None:
    """As one captured program, with a watch; two originals, three forget sets.

    AdamW divides a gradient by its own size, so where it is almost 0 rounding turns its sign: on a
    CPU too, weights of such runs lie up to a tenth of their way apart, their losses 3e-3.
    """
    models = [cvae, network("cvae-mlp", (1, 28, 28))]
    fisher = {name: torch.full_like(p, 0.01) for name, p in cvae.named_parameters()}
    seen: list[int] = []

    def run(which: int, label: int, lam: float) -> base.Run:
        forget = Split(grey.take(grey.y == label), grey.take(grey.y != label))
        method = make_method("selective-amnesia", {"steps": 40, "batch": 32, "lam": lam})
        needs = {"fisher": fisher, "watch": lambda step, model: seen.append(step)}
        generator = stream(label, "together", device="cuda")
        return base.Run(method, models[which], Splits(forget, forget, forget), generator, needs)

    wanted = [(0, 1, 10.0), (1, 2, 100.0), (0, 3, 1000.0)]
    together, singles = [run(*each) for each in wanted], [run(*each) for each in wanted]
    with step_reports() as reports:
        found = type(together[0].method).together(together)
    assert reports[0].captured, reports[0].obstacle
    assert reports[0].replayed == 37
    assert sorted(set(seen)) == list(range(41))
    for made, own, single in zip(found, together, singles, strict=True):
        alone = single.method(single.model, single.splits, single.generator, fisher=fisher)
        assert isinstance(made, base.Unlearned)
        distance = apart(made.weights, alone.weights, single.model)
        print(f"\nstacked amnesia: apart {distance:.2e}")
        assert distance < 0.2
        assert torch.equal(own.generator.get_state(), single.generator.get_state())
        for term, values in alone.curve.items():
            assert made.curve[term] == pytest.approx(values, rel=5e-3, abs=5e-3)
