"""LeNet-5 in PyTorch; the twin of `paddle_cnn/lenet.py`.

Paper: LeCun et al., Gradient-Based Learning Applied to Document Recognition, https://doi.org/10.1109/5.726791
Source: Dive into Deep Learning, PyTorch edition, 5.5, https://github.com/ShusenTang/Dive-into-DL-PyTorch.
Deviations from the paper: 28x28 images without padding; max pooling, not trained subsampling; sigmoid, not scaled tanh;
    the second convolution sees all six maps; a linear output layer, not Gaussian connections.
"""

from torch import nn


class LeNet(nn.Module):
    """Two convolutions with sigmoid and max pooling, then three linear layers.

    Shape: N x in_channels x 28 x 28 to N x num_classes.
    """

    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5),  # N x 6 x 24 x 24
            nn.Sigmoid(),
            nn.MaxPool2d(2, stride=2),  # N x 6 x 12 x 12
            nn.Conv2d(6, 16, 5),  # N x 16 x 8 x 8
            nn.Sigmoid(),
            nn.MaxPool2d(2, stride=2),  # N x 16 x 4 x 4
        )
        self.flatten = nn.Flatten()  # N x 256
        self.classifier = nn.Sequential(
            nn.Linear(16 * 4 * 4, 120),
            nn.Sigmoid(),
            nn.Linear(120, 84),
            nn.Sigmoid(),
            nn.Linear(84, num_classes),
        )

    def forward(self, inputs):
        return self.classifier(self.flatten(self.features(inputs)))


def lenet5(num_classes=10, in_channels=1):
    return LeNet(num_classes, in_channels)


NETWORKS = (lenet5,)
