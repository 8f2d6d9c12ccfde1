"""Random streams follow from seed and purpose, and leave torch's global generator alone."""

import torch

from unlearn.streams import seeded, stream


def test_streams_depend_on_seed_and_purpose_alone() -> None:
    def numbers(*purpose: object) -> list[float]:
        return torch.rand(4, generator=stream(*purpose)).tolist()  # type: ignore[arg-type]

    assert numbers(0, "a", 1) == numbers(0, "a", 1)
    assert len({tuple(numbers(*p)) for p in ((0, "a"), (1, "a"), (0, "b"), (0, "a", 1))}) == 4


def test_seeded_leaves_the_global_stream_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2).tolist()
    torch.manual_seed(5)
    with seeded(1, "inside"):
        inside = torch.rand(2).tolist()
    with seeded(1, "inside"):
        assert torch.rand(2).tolist() == inside
    assert torch.rand(2).tolist() == expected
