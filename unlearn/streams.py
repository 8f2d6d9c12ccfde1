"""Named random streams: the same seed and purpose give the same numbers on every machine and in any order."""

import hashlib

import torch


def stream(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by a hash of `seed` and `purpose`, so that no two purposes share numbers."""
    text = "/".join(str(part) for part in (seed, *purpose))
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
