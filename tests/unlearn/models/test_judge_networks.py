"""The three networks that judge generated images."""

import pytest
import torch
from torch import nn

from unlearn.errors import BadInput
from unlearn.generators.judges import Judge, build_judge
from unlearn.models.base import Classifying
from unlearn.models.judge_networks import DeepJudge, OfficialJudge, PatchJudge
from unlearn.streams import globally, stream

WIDTHS = {OfficialJudge: 50, DeepJudge: 64, PatchJudge: 64}  # features of each


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20), (1, 8, 8), (1, 9, 40), (2, 15, 12)])
@pytest.mark.parametrize("kind", WIDTHS)
def test_a_judge_reads_any_image(kind: type[Classifying], shape: tuple[int, int, int]) -> None:
    judge = kind(shape, 4).eval()
    x = torch.rand(2, *shape, generator=stream(0, "x"))
    assert judge.features(x).shape == (2, WIDTHS[kind])
    assert judge(x).shape == (2, 4)


def test_the_official_judge_has_the_size_of_the_references() -> None:
    """28 - 4 is 24, pooled 12; 12 - 4 is 8, pooled 4: 20 x 4 x 4 = 320 inputs."""
    convs = (10 * 25 + 10) + (20 * 10 * 25 + 20)
    norms = 2 * 10 + 2 * 20
    linear = (320 * 50 + 50) + (50 * 10 + 10)
    judge = OfficialJudge((1, 28, 28), 10)
    assert sum(p.numel() for p in judge.parameters()) == convs + norms + linear


def test_the_official_judge_pads_what_it_would_leave_nothing_of() -> None:
    """15 stays 15, pooled 7; 7 stays 7, pooled 3: 3 x 3 places. 16 - 4 is 12, pooled 6; 2, 1."""
    assert OfficialJudge((1, 15, 15), 10).hidden.in_features == 20 * 3 * 3
    assert OfficialJudge((1, 16, 16), 10).hidden.in_features == 20


def test_images_that_no_judge_can_read_are_refused() -> None:
    with pytest.raises(BadInput, match="at least 8 x 8 pixels, not 8 x 7; enlarge"):
        build_judge(Judge("deep", 0, reject=False), (1, 8, 7), 3)


def test_the_deep_judge_halves_an_image_twice() -> None:
    judge = DeepJudge((1, 28, 28), 10).eval()
    last_map = judge.body(torch.zeros(1, 1, 28, 28))
    assert last_map.shape == (1, 64, 7, 7)
    torch.testing.assert_close(judge.features(torch.zeros(1, 1, 28, 28)), last_map.mean((2, 3)))


def test_the_patch_judge_adds_what_it_mixes_to_the_patches() -> None:
    """With mixing that answers 0, each block is its second layer on the patches as they are."""
    with globally(stream(0, "patch")):
        judge = PatchJudge((1, 8, 8), 3).eval()
    for mixer in judge.mixers:
        nn.init.zeros_(mixer[0].weight)  # type: ignore[index]
        nn.init.zeros_(mixer[0].bias)  # type: ignore[index]
    x = torch.rand(2, 1, 8, 8, generator=stream(0, "x"))
    with torch.no_grad():
        patches = judge.stem(x)
        for point in judge.points:
            patches = point(patches)
        expected = nn.functional.gelu(judge.hidden(patches.flatten(1)))
        features = judge.features(x)
    assert patches.shape == (2, 48, 2, 2)
    torch.testing.assert_close(features, expected)
    assert not torch.allclose(features[0], features[1])
