"""paddle.vision's ResNet-50 as other people may write it: `parity bench diagnosis` compares torchvision's with them."""

from paddle import nn
from paddle.vision.models import ResNet, resnet50


def same() -> ResNet:
    """Return it as it is: its layers have torchvision's names."""
    return resnet50()


def renamed() -> nn.Layer:
    """Return it with other names: only the structure shows which layers are the same."""
    return _renamed(same())


def wrong() -> nn.Layer:
    """Return it with other names and one mistake, in the middle: another eps."""
    net = same()
    first, *_ = net.layer2
    first.bn2 = nn.BatchNorm2D(128, epsilon=1e-3)
    return _renamed(net)


def _renamed(net: ResNet) -> nn.Layer:
    stages = nn.Sequential(net.layer1, net.layer2, net.layer3, net.layer4)
    return nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, stages, net.avgpool, nn.Flatten(), net.fc)
