"""The three networks of reference 5 from torchvision, for small images: 3 x 3 stems in place of ImageNet's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlearn.errors import lookup
from unlearn.models.base import Classifying
from unlearn.models.normalise import Normalise

Shape = tuple[int, int, int]
Numbers = Sequence[float] | None
HEADS = {
    "stock": "torchvision's three layers, made for 7 x 7 places",
    "small": "one layer on the last map's mean",
}
STEMS = {
    "small": "as much resolution as 32 x 32 images need",
    "stock": "torchvision's strides, made for 224 x 224",
}


class Wrapped(Classifying):
    """A network whose head was taken out: `net` gives features (n, d), `head` logits (n, classes).

    layout: how a CPU lays the images out in memory; channels-last is what its convolutions read faster.
    """

    net: nn.Module
    layout = torch.channels_last

    def __init__(self, channels: int, mean: Numbers, std: Numbers) -> None:
        super().__init__()
        self.normalise = Normalise(channels, mean, std)

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, (n, d)."""
        x = self.normalise(x)
        return self.net(x.contiguous(memory_format=self.layout) if x.device.type == "cpu" else x)


class ResNet18(Wrapped):
    """torchvision's ResNet-18 (arXiv:1512.03385), 3 x 3 stem of stride 1, no max-pool: 11.2 M parameters."""

    def __init__(
        self, shape: Shape, classes: int, mean: Numbers = None, std: Numbers = None
    ) -> None:
        super().__init__(shape[0], mean, std)
        from torchvision.models import resnet18

        net = resnet18(num_classes=classes)
        net.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
        self.head, net.fc = net.fc, nn.Identity()
        self.net = net


class VGG11BN(Wrapped):
    """torchvision's VGG-11 with batch norm (arXiv:1409.1556).

    head: `stock` is reference 5's two layers of 4,096: 128.8 M parameters, 119.6 M of them in the head's layers, which
    see one place repeated 7 x 7 times at 32 x 32; `small` is one layer of 512, as is usual there: 9.2 M.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        mean: Numbers = None,
        std: Numbers = None,
        dropout: float = 0.5,
        head: str = "stock",
    ) -> None:
        super().__init__(shape[0], mean, std)
        from torchvision.models import vgg11_bn

        lookup("head", head, HEADS)
        net = vgg11_bn(num_classes=classes, dropout=dropout)
        if shape[0] != 3:
            net.features[0] = nn.Conv2d(shape[0], 64, 3, padding=1)
        if head == "small":
            net.avgpool, net.classifier = (
                nn.AdaptiveAvgPool2d(1),
                nn.Sequential(nn.Dropout(dropout)),
            )
            self.head = nn.Linear(512, classes)
        else:
            self.head, net.classifier[6] = net.classifier[6], nn.Identity()
        self.net = net


class MobileNetV2(Wrapped):
    """torchvision's MobileNetV2 (arXiv:1801.04381), 2.2 M parameters.

    stem: `small` takes the first and the second halving out (strides 1), leaving 4 x 4 places of 32 x 32; `stock` is
    reference 5's network, which leaves one place.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        mean: Numbers = None,
        std: Numbers = None,
        stem: str = "small",
    ) -> None:
        super().__init__(shape[0], mean, std)
        from torchvision.models import mobilenet_v2

        lookup("stem", stem, STEMS)
        net = mobilenet_v2(num_classes=classes)
        first = net.features[0][0]
        if shape[0] != 3:
            first = net.features[0][0] = nn.Conv2d(shape[0], 32, 3, stride=2, padding=1, bias=False)
        if stem == "small":
            first.stride = net.features[2].conv[1][0].stride = (1, 1)
        self.head, net.classifier = net.classifier[1], net.classifier[0]
        self.net = net
