"""Any classifier that timm knows by name, such as `vit_tiny_patch16_224`."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import BadInput, require
from unlearn.models.base import Classifying
from unlearn.models.normalise import Normalise
from unlearn.models.weights_file import read_weights


class Timm(Classifying):
    """timm's `name` with a fresh linear head; images are resized to its size and normalised its way first.

    pretrained: timm's own weights, downloaded; or a local file (timm's layout, any head; or this class's own), which
    may also be given as `weights`. img_size, patch_size: for the networks that take them, 0 for their own; 3 x 3
    convolutions take any size, and get images as they are. Raises `BadInput` for an unknown name or weights that
    cannot be had.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        name: str,
        pretrained: bool | str = False,
        img_size: int = 0,
        patch_size: int = 0,
        weights: str = "",
    ) -> None:
        super().__init__()
        if isinstance(pretrained, str):
            weights, pretrained = pretrained, False
        own = read_weights(weights) if weights else {}
        ours = bool(own) and all(key.startswith(("net.", "head.")) for key in own)
        given = {"img_size": img_size, "patch_size": patch_size}
        sizes: dict[str, Any] = {key: value for key, value in given.items() if value}
        if own and not ours:
            sizes["pretrained_cfg_overlay"] = {"state_dict": own}
        self.net = create(
            name, in_chans=shape[0], pretrained=(pretrained or bool(own)) and not ours, **sizes
        )
        self.size = self.net.patch_embed.img_size if hasattr(self.net, "patch_embed") else None
        config = self.net.pretrained_cfg
        self.normalise = Normalise(
            shape[0], *(_per_channel(config.get(key), shape[0]) for key in ("mean", "std"))
        )
        width = getattr(self.net, "head_hidden_size", None) or self.net.num_features
        self.head = nn.Linear(width, classes)
        if ours:
            self.load_state_dict(own)

    def features(self, x: Tensor) -> Tensor:
        """timm's pooled features, (n, d)."""
        if self.size is not None and x.shape[2:] != self.size:
            x = F.interpolate(
                x, size=tuple(self.size), mode="bilinear", antialias=True, align_corners=False
            )
        return self.net(self.normalise(x))


def _per_channel(values: Any, channels: int) -> Any:
    """timm's statistics where they fit the channels, else the mean of them."""
    if values is None or len(values) == channels:
        return values
    return [sum(values) / len(values)]


def knows(name: str) -> bool:
    """Whether timm has a network of that name (with or without the tag of its weights behind a dot)."""
    import timm

    return timm.is_model(name)


def create(name: str, pretrained: bool, **options: Any) -> Any:
    """timm's network without its head."""
    import timm

    require(knows(name), f"timm knows no model {name!r}; see timm.list_models()")
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        raise BadInput(f"timm's {name} does not take these options ({_line(error)})") from error
    except Exception as error:  # the download libraries' errors share no parent
        if not pretrained or "pretrained_cfg_overlay" in options:
            raise BadInput(
                f"timm's {name} cannot be built with {list(options)} ({_line(error)})"
            ) from error
        raise BadInput(
            f"the pretrained weights of {name} could not be downloaded ({type(error).__name__}: {_line(error)}); "
            "give a local file as weights: PATH, or pretrained: false"
        ) from error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
