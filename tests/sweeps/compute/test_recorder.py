"""The recording of unlearning: it shows the model's images, and recording changes nothing."""

import io

import torch
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from sweeps.compute.recorder import FRAMES, Recorder, gif
from unlearn.methods import make_method
from unlearn.models import build
from unlearn.splits import Dataset
from unlearn.streams import seeded, stream


def test_a_film_changes_no_bit_and_ends_with_the_result(digits: Dataset) -> None:
    with seeded(0, "film"):
        original = build("cvae-mlp", digits.shape, digits.classes)
    fisher = {name: torch.ones_like(p) for name, p in original.named_parameters()}
    method, splits = make_method("selective-amnesia", {"steps": 40}), digits.split([1])
    film = Recorder(original.z_dim, original.classes, 40, 0, "cpu")
    plain = method(original, splits, stream(0, "unlearn"), fisher=fisher).weights
    filmed = method(original, splits, stream(0, "unlearn"), fisher=fisher, watch=film).weights
    assert all(torch.equal(plain[name], filmed[name]) for name in plain)
    pictures = film.pictures()
    frames, steps = pictures["film"], pictures["film_steps"].tolist()
    assert (steps[0], steps[-1], len(steps)) == (0, 40, len(frames))
    assert 10 <= len(frames) <= FRAMES
    assert frames.shape[1:] == (10, 4, 1, 28, 28)
    last = build("cvae-mlp", digits.shape, digits.classes, filmed)
    with torch.no_grad():
        images = last(film.z, last.one_hot(film.labels))
    assert torch.equal(frames[-1].flatten(0, 1), (images * 255).round().to(torch.uint8))


def test_a_gif_holds_every_frame() -> None:
    frames = torch.randint(256, (5, 3, 2, 1, 8, 8), generator=stream(0, "gif")).to(torch.uint8)
    picture = Image.open(io.BytesIO(gif(frames)))
    assert isinstance(picture, GifImageFile)
    assert (picture.n_frames, picture.size) == (5, (3 * 8, 2 * 8))


def test_nothing_ran_nothing_to_show() -> None:
    assert Recorder(2, 3, 10, 0, "cpu").pictures() == {}
