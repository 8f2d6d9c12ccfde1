"""The three torchvision networks of reference 5, with 3 x 3 stems for small images."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn.errors import lookup
from unlearn.models.base import Classifying
from unlearn.models.normalise import Normalise

Shape = tuple[int, int, int]
PerChannel = Sequence[float] | None
HEADS = {
    "stock": "torchvision's three layers, made for a last map of 7 x 7",
    "small": "one layer on the mean over the last map",
}
STEMS = {
    "small": "as much resolution as 32 x 32 images need",
    "stock": "torchvision's strides, made for 224 x 224",
}


class TorchvisionClassifier(Classifying):
    """A torchvision network without its last layer, which is the head.

    net: normalised images -> features (n, d)
    layout: memory format of the images on a CPU, where convolutions read channels-last faster
    """

    net: nn.Module
    library: ClassVar[str] = "torchvision"
    layout = torch.channels_last

    def __init__(self, channels: int, mean: PerChannel, std: PerChannel) -> None:
        super().__init__()
        self.normalise = Normalise(channels, mean, std)

    def features(self, x: Tensor) -> Tensor:
        """Compute the input of the head, (n, d)."""
        x = self.normalise(x)
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=self.layout)
        output: Tensor = self.net(x)
        return output


class ResNet18(TorchvisionClassifier):
    """torchvision's ResNet-18 (arXiv:1512.03385): 11.2 M parameters.

    The stem is a 3 x 3 convolution of stride 1 without max-pooling.

    shape: (channels, height, width) of one image
    classes: number of classes
    mean, std: normalisation per channel; see `Normalise`
    """

    def __init__(
        self, shape: Shape, classes: int, mean: PerChannel = None, std: PerChannel = None
    ) -> None:
        super().__init__(shape[0], mean, std)
        from torchvision.models import resnet18

        net = resnet18(num_classes=classes)
        net.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
        self.head, net.fc = net.fc, nn.Identity()
        self.net = net


class VGG11BN(TorchvisionClassifier):
    """torchvision's VGG-11 with batch norm (arXiv:1409.1556).

    shape: (channels, height, width) of one image
    classes: number of classes
    mean, std: normalisation per channel; see `Normalise`
    dropout: probability in [0, 1] in the head's hidden layers
    head: `stock` is reference 5's, two hidden layers of 4,096: 128.8 M parameters, 119.6 M of them
        in the head's layers, which at 32 x 32 see one position repeated 7 x 7 times; `small` is one
        layer on 512 features, as is usual at that size: 9.2 M
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        mean: PerChannel = None,
        std: PerChannel = None,
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
            net.avgpool = nn.AdaptiveAvgPool2d(1)
            net.classifier = nn.Sequential(nn.Dropout(dropout))
            self.head = nn.Linear(512, classes)
        else:
            self.head, net.classifier[6] = net.classifier[6], nn.Identity()
        self.net = net


class MobileNetV2(TorchvisionClassifier):
    """torchvision's MobileNetV2 (arXiv:1801.04381): 2.2 M parameters.

    shape: (channels, height, width) of one image
    classes: number of classes
    mean, std: normalisation per channel; see `Normalise`
    stem: `small` sets the first and the second stride of 2 to 1, which leaves a last map of 4 x 4
        from 32 x 32; `stock` is reference 5's network, which leaves 1 x 1
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        mean: PerChannel = None,
        std: PerChannel = None,
        stem: str = "small",
    ) -> None:
        super().__init__(shape[0], mean, std)
        from torchvision.models import mobilenet_v2

        lookup("stem", stem, STEMS)
        net = mobilenet_v2(num_classes=classes)
        if shape[0] != 3:
            net.features[0][0] = nn.Conv2d(shape[0], 32, 3, stride=2, padding=1, bias=False)
        if stem == "small":
            first, second = net.features[0][0], net.features[2].conv[1][0]
            first.stride = (1, 1)
            second.stride = (1, 1)
        self.head, net.classifier = net.classifier[1], net.classifier[0]
        self.net = net
