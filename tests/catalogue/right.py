"""Right pairs: the same function with other names, another order, another granularity. None may be flagged."""

from itertools import product

from catalogue.rows import Row, edits_of
from catalogue.sources import STYLES

NETWORKS = ("Vgg", "Residual", "Inception", "Mobile", "Shuffle", "Dense", "UNet", "Segmentation")


def right(kind, network, style, *changes, **more):
    """Return a right pair, with changes to the text that mean nothing."""
    return Row(kind, network, style, edits_of(*changes), **more)


# fmt: off
WRITTEN = [
    right("dropout left out", "Vgg", "same", ("Vgg", "self.drop(self.act1(self.fc1(x)))", "self.act1(self.fc1(x))")),
    right("identity in place", "Mobile", "same", ("Mobile", "self.drop = nn.Dropout(0.2)", "self.drop = nn.Identity()")),
    right("operands exchanged", "Residual", "same", ("Bottleneck", "out + identity", "identity + out")),
    right("branches called in another order", "Inception", "same", ("Mixed", "        a = F.relu(self.branch1(x))\n        b = F.relu(self.branch3(F.relu(self.branch3_reduce(x))))\n", "        b = F.relu(self.branch3(F.relu(self.branch3_reduce(x))))\n        a = F.relu(self.branch1(x))\n")),
    right("branches called in another order", "Segmentation", "renamed", ("Pyramid", "a, b, c = self.convolution1(x), self.convolution2(x), self.convolution3(x)", "c, b, a = self.convolution3(x), self.convolution2(x), self.convolution1(x)")),
    right("zero added", "Mobile", "regrouped", ("Mobile", "self.first(x)", "self.first(x + 0)")),
    right("mean in two steps", "Shuffle", "same", ("Shuffle", "x = x.mean((2, 3))", "x = x.mean(3).mean(2)")),
    right("pooling for mean", "Inception", "same", ("Inception", "x = x.mean((2, 3))", "x = F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1)")),
    right("gate written out", "Mobile", "regrouped", ("LinearGate", "F.hardsigmoid(self.fc2(s))", "F.relu6(self.fc2(s) + 3) / 6")),
    right("swish written out", "Mobile", "regrouped", ("ConvBn", "F.hardswish(x)", "x * F.relu6(x + 3) / 6")),
    right("dropout as a function", "Vgg", "regrouped", ("Vgg", "return self.classifier(", "x = F.dropout(x, 0.5, training=self.training)\n        return self.classifier(")),
    right("shuffle as a layer", "Shuffle", "same", ("Unit", "return shuffle(out, 2)", "return F.channel_shuffle(out, 2)")),
    right("slices for chunks", "Shuffle", "renamed", ("Unit", "x1, x2 = paddle.chunk(x, 2, axis=1)", "x1, x2 = x[:, :6], x[:, 6:]")),
    right("size for scale", "UNet", "regrouped", ("UNet", "self.enlarge(x)", 'F.interpolate(x, size=(32, 28), mode="bilinear", align_corners=True)')),
    right("layer unused", "Vgg", "same", ("Vgg", "self.fc3 = nn", "self.unused = nn.ReLU6()\n        self.fc3 = nn")),
    right("momentum differs", "Vgg", "renamed", ("Vgg", "self.batch_norm1 = nn.BatchNorm2D(8)", "self.batch_norm1 = nn.BatchNorm2D(8, momentum=0.1)")),
    right("dropout rate differs", "Vgg", "same", ("Vgg", "nn.Dropout(0.5)", "nn.Dropout(0.3)")),
    right("detach", "Residual", "same", ("Bottleneck", "out = out + identity", "out = out + identity.detach()")),
    right("deep", "Residual", "same", options={"depth": 6}),
    right("deep", "Residual", "renamed", options={"depth": 6}),
    right("deep", "Residual", "regrouped", options={"depth": 6}),
    right("deep", "Residual", "regrouped", options={"depth": 6}, pair="torch/torch"),
    right("zoo", "Vgg", "zoo"),
    right("zoo", "Residual", "zoo"),
    right("zoo", "Mobile", "zoo"),
    right("zoo", "Residual", "zoo", options={"depth": 6}),
    right("zoo", "Vgg", "zoo", pair="paddle/paddle"),
    right("zoo", "Mobile", "zoo", pair="paddle/paddle"),
    right("zoo", "UNet", "zoo"),
    right("zoo", "Fusion", "zoo"),
    right("hard sigmoid of another zoo", "Mobile", "zoo", ("SEModule", "F.hardsigmoid(outputs, slope=0.1666667, offset=0.5)", "F.relu6(outputs + 3.0) / 6.0")),
    right("weight in a function", "Dense", "regrouped", ("Dense", "self.fc(x.mean((2, 3)))", "F.linear(x.mean((2, 3)), self.fc.weight, self.fc.bias)")),
]
# fmt: on

REWRITTEN = [
    right("renamed" if style == "renamed" else "regrouped", network, style, pair=pair)
    for network, style, pair in product(NETWORKS, STYLES[1:3], ("torch/paddle", "torch/torch"))
] + [right("regrouped", network, "regrouped", pair=pair) for network, pair in product(NETWORKS, ("paddle/torch",))]
SAME = [right("same names", network, "same") for network in NETWORKS]
GRADIENTS = [
    right("gradients", network, style, mode="gradients") for network, style in product(NETWORKS[:6:2], STYLES[:3])
]
TRAINED = [right("training", network, "same", mode="train") for network in NETWORKS[:2]]
RIGHT = [*SAME, *REWRITTEN, *WRITTEN, *GRADIENTS, *TRAINED]
