"""AlexNet in PaddlePaddle; the twin of `torch_cnn/alexnet.py`.

Papers:
    Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks,
        https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks
    Krizhevsky, One Weird Trick for Parallelizing CNNs, https://arxiv.org/abs/1404.5997 (alexnet)
Sources:
    Dive into Deep Learning, PyTorch edition, 5.6, https://github.com/ShusenTang/Dive-into-DL-PyTorch (alexnet_d2l*)
    torchvision, whose layer names `alexnet` keeps and whose checkpoint it loads
Deviations from the papers: one tower, no grouped convolutions; no local response normalisation.
    `alexnet_d2l*`: one channel and ten classes; the first convolution unpadded (`_pad1`: padded by one).
    `alexnet`: averages its last maps to 6x6, so that any input from 63x63 on runs.
"""

from paddle import nn


class AlexNetD2L(nn.Layer):
    """AlexNet of the article: 96, 256, 384, 384, 256 maps; `padding` is that of the first convolution.

    Shape: N x in_channels x 224 x 224 to N x num_classes.
    """

    def __init__(self, padding, num_classes=10, in_channels=1):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2D(in_channels, 96, 11, stride=4, padding=padding),  # N x 96 x 54 x 54, with padding 0 and 1
            nn.ReLU(),
            nn.MaxPool2D(3, stride=2),  # N x 96 x 26 x 26
            nn.Conv2D(96, 256, 5, padding=2),  # N x 256 x 26 x 26
            nn.ReLU(),
            nn.MaxPool2D(3, stride=2),  # N x 256 x 12 x 12
            nn.Conv2D(256, 384, 3, padding=1),  # N x 384 x 12 x 12
            nn.ReLU(),
            nn.Conv2D(384, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2D(384, 256, 3, padding=1),  # N x 256 x 12 x 12
            nn.ReLU(),
            nn.MaxPool2D(3, stride=2),  # N x 256 x 5 x 5
        )
        self.flatten = nn.Flatten()  # N x 6400
        self.classifier = nn.Sequential(
            nn.Linear(256 * 5 * 5, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, num_classes),
        )

    def forward(self, inputs):
        return self.classifier(self.flatten(self.features(inputs)))


class AlexNet(nn.Layer):
    """AlexNet of the second paper: 64, 192, 384, 256, 256 maps.

    Shape: N x in_channels x H x W to N x num_classes, for H and W of 63 and more.
    """

    def __init__(self, num_classes=1000, in_channels=3):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2D(in_channels, 64, 11, stride=4, padding=2),  # N x 64 x 55 x 55, for 224 x 224
            nn.ReLU(),
            nn.MaxPool2D(3, stride=2),  # N x 64 x 27 x 27
            nn.Conv2D(64, 192, 5, padding=2),  # N x 192 x 27 x 27
            nn.ReLU(),
            nn.MaxPool2D(3, stride=2),  # N x 192 x 13 x 13
            nn.Conv2D(192, 384, 3, padding=1),  # N x 384 x 13 x 13
            nn.ReLU(),
            nn.Conv2D(384, 256, 3, padding=1),  # N x 256 x 13 x 13
            nn.ReLU(),
            nn.Conv2D(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2D(3, stride=2),  # N x 256 x 6 x 6
        )
        self.avgpool = nn.AdaptiveAvgPool2D(6)  # N x 256 x 6 x 6
        self.flatten = nn.Flatten()  # N x 9216
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, inputs):
        return self.classifier(self.flatten(self.avgpool(self.features(inputs))))


def alexnet_d2l(num_classes=10, in_channels=1):
    return AlexNetD2L(0, num_classes, in_channels)


def alexnet_d2l_pad1(num_classes=10, in_channels=1):
    return AlexNetD2L(1, num_classes, in_channels)


def alexnet(num_classes=1000, in_channels=3):
    return AlexNet(num_classes, in_channels)


NETWORKS = (alexnet_d2l, alexnet_d2l_pad1, alexnet)
