"""Any classifier that timm knows by name, such as `vit_tiny_patch16_224`."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import BadInput, require
from unlearn.models.base import Classifying
from unlearn.models.normalise import Normalise
from unlearn.models.weights_file import PREFIXES, fitting, load_tensors, read_checkpoint

MAX_REASON = 200  # characters of timm's message that ours quotes


class TimmClassifier(Classifying):
    """A network of timm with a new linear head.

    Images are first resized to the network's size, where it has a fixed one, and normalised as the
    network was trained. Networks of 3 x 3 convolutions take any size and get images as they are.

    shape: (channels, height, width) of the images
    classes: number of classes
    name: timm's name
    pretrained: True for timm's own weights, downloaded; a path means the same as `weights`
    img_size: side of the input, pixels, for networks that take it; 0 for the network's default
    patch_size: side of a patch, pixels, for networks that take it; 0 for the network's default
    weights: local file, in timm's naming with any head, or a state dict of this class; "" for none

    Raises `BadInput` for an unknown name or option, and for weights that cannot be had.
    """

    library: ClassVar[str] = "timm"

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
        options = _size_options(img_size, patch_size)
        given = _weights_for(name, weights, in_chans=shape[0], **options) if weights else {}
        is_ours = _is_state_dict_of_ours(given)
        is_timms = bool(given) and not is_ours
        if is_timms:
            # timm then adapts the weights (positions, channels) as it does its own downloads
            options["pretrained_cfg_overlay"] = {"state_dict": given}
        download = pretrained and not is_ours
        self.net = create_backbone(
            name, in_chans=shape[0], pretrained=download or is_timms, **options
        )
        self.size = self.net.patch_embed.img_size if hasattr(self.net, "patch_embed") else None
        self.normalise = _normalisation(self.net.pretrained_cfg, shape[0])
        width = getattr(self.net, "head_hidden_size", None) or self.net.num_features
        self.head = nn.Linear(width, classes)
        if is_ours:
            load_tensors(name, self, given, weights)

    def features(self, x: Tensor) -> Tensor:
        """Compute timm's pooled features, (n, d)."""
        if self.size is not None and x.shape[2:] != self.size:
            size = tuple(self.size)
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
        output: Tensor = self.net(self.normalise(x))
        return output


def _weights_for(name: str, path: str, **options: Any) -> dict[str, Tensor]:
    """Read a file of weights in the names of timm's network, or of a `TimmClassifier` of it."""
    given = read_checkpoint(path).tensors
    if not all(key.startswith(PREFIXES) for key in given):
        return given
    own = list(create_backbone(name, pretrained=False, **options).state_dict())
    return fitting(given, [*own, *(f"net.{key}" for key in own)])


def _is_state_dict_of_ours(weights: dict[str, Tensor]) -> bool:
    """Tell whether weights come from a `TimmClassifier`, by the names of its two parts."""
    return bool(weights) and all(key.startswith(("net.", "head.")) for key in weights)


def _size_options(img_size: int, patch_size: int) -> dict[str, Any]:
    """Return the sizes that are set, as options of `timm.create_model`."""
    options: dict[str, Any] = {}
    if img_size:
        options["img_size"] = img_size
    if patch_size:
        options["patch_size"] = patch_size
    return options


def _normalisation(config: dict[str, Any], channels: int) -> Normalise:
    """Normalise by the statistics that timm's configuration of the network names."""
    mean = _per_channel(config.get("mean"), channels)
    std = _per_channel(config.get("std"), channels)
    return Normalise(channels, mean, std)


def _per_channel(values: Any, channels: int) -> Any:
    """Return timm's statistics where their number is that of the channels, else their mean."""
    if values is None or len(values) == channels:
        return values
    return [sum(values) / len(values)]


def is_timm_model(name: str) -> bool:
    """Tell whether timm has a network of that name, with or without a tag of weights (`.tag`)."""
    import timm

    return timm.is_model(name)


def create_backbone(name: str, pretrained: bool, **options: Any) -> Any:
    """Create timm's network without its head.

    Raises `BadInput` for an unknown name or option, and for weights that cannot be downloaded.
    """
    import timm

    require(is_timm_model(name), f"timm knows no model {name!r}; see timm.list_models()")
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        raise BadInput(
            f"timm's {name} does not take these options ({_first_line(error)}); leave them out"
        ) from error
    except Exception as error:  # the download libraries' errors share no parent
        if not pretrained or "pretrained_cfg_overlay" in options:
            raise BadInput(
                f"timm's {name} cannot be built with {list(options)} ({_first_line(error)}); "
                "change them"
            ) from error
        raise BadInput(
            f"the pretrained weights of {name} could not be downloaded "
            f"({type(error).__name__}: {_first_line(error)}); "
            "give a local file as weights: PATH, or pretrained: false"
        ) from error


def _first_line(error: Exception) -> str:
    """Return the first line of a message, cut to a readable length."""
    lines = str(error).splitlines() or [""]
    return lines[0][:MAX_REASON]
