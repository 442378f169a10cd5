"""Mistakes that evaluation cannot show: in gradients, and in training mode; and several mistakes at once."""

from catalogue.rows import Planted, Row, edits_of, plant
from catalogue.weights import STATISTICS, both, put

GRADIENT = "detach|gradient|stop_gradient|frozen|trainable|requires_grad"
STRAIGHT = """class Straight({base}):
            @staticmethod
            def forward(ctx, x):
                return {clip}

            @staticmethod
            def backward(ctx, grad):
                return {grad}

        """
PYLAYER = STRAIGHT.format(base="paddle.autograd.PyLayer", clip="F.relu(x)", grad="grad")
FUNCTION = STRAIGHT.format(base="torch.autograd.Function", clip="x.clamp(min=0)", grad="grad")
HALF = STRAIGHT.format(base="paddle.autograd.PyLayer", clip="x * 1.0", grad="0.5 * grad")


def gradient(*row, **more):
    """Return a row of gradients."""
    return plant(*row, mode="gradients", **more)


def train(*row, **more):
    """Return a row of training mode."""
    return plant(*row, mode="train", **more)


# fmt: off
GRADIENTS = [
    gradient("detach", "Residual", "same", ("Bottleneck", "out = out + identity", "out = out + identity.detach()"), r"layer\d\.\d(\.add\(\))?", GRADIENT),
    gradient("detach", "Residual", "regrouped", ("Block", "short + y)", "short + y.detach())"), r"layer\d\.\d(\.add\(\)|\.bn3)?", GRADIENT),
    gradient("detach", "Inception", "same", ("Mixed", "F.relu(self.branch3_reduce(x))", "F.relu(self.branch3_reduce(x.detach()))"), r"mixed\d(\.branch3_reduce)?", GRADIENT),
    gradient("detach", "Mobile", "regrouped", ("LinearGate", "x.mean((2, 3))", "x.detach().mean((2, 3))"), r"block\d\.se(\.avgpool)?", GRADIENT),
    gradient("detach", "UNet", "same", ("UNet", "[a, y]", "[a.detach(), y]"), r"|cat\(\)|down1.*", GRADIENT),
    gradient("detach", "Dense", "renamed", ("DenseLayer", "[x, y]", "[x.detach(), y]"), r"block\d\.\d(\.cat\(\))?", GRADIENT),
    gradient("detach", "Segmentation", "same", ("Segmentation", "self.aux(y)", "self.aux(y.detach())"), "|aux", GRADIENT),
    gradient("frozen", "Vgg", "same", ("Vgg", "self.bn2 = nn", "self.conv2.weight.stop_gradient = True\n        self.bn2 = nn"), "conv2", GRADIENT),
    gradient("frozen", "Residual", "renamed", ("Residual", "\n    def forward", "        for p in self.stage1.parameters():\n            p.stop_gradient = True\n\n    def forward"), r"layer1.*", GRADIENT),
    gradient("frozen", "Dense", "regrouped", ("Dense", "self.fc = nn.Linear(16, 10)", "self.fc = nn.Linear(16, 10)\n        self.fc.bias.requires_grad = False"), "classifier", GRADIENT, pair="torch/torch"),
    gradient("wrong backward", "Vgg", "same", ("Vgg", "x = self.act2(self.fc2(x))", PYLAYER + "x = Straight.apply(self.fc2(x))"), "act2", f"{GRADIENT}|backward"),
    gradient("wrong backward", "Residual", "same", ("Bottleneck", "return self.relu(out)", FUNCTION + "return Straight.apply(out)"), r"layer\d\.\d(\.relu)?", f"{GRADIENT}|backward", pair="torch/torch"),
    gradient("wrong backward", "Inception", "same", ("Inception", "x = self.mixed2(x)", HALF + "x = Straight.apply(self.mixed2(x))"), r"|mixed2.*|m(ean|ul)\(\)", f"{GRADIENT}|backward"),
]

TRAINING = [
    train("momentum", "Vgg", "same", ("Vgg", "self.bn1 = nn.BatchNorm2D(8)", "self.bn1 = nn.BatchNorm2D(8, momentum=0.1)"), "bn1", "momentum"),
    train("momentum", "Mobile", "regrouped", ("ConvBn", "epsilon=0.001", "momentum=0.99, epsilon=0.001"), r"bn|block\d\.bn\d", "momentum"),
    train("momentum", "Dense", "renamed", ("Transition", "nn.BatchNorm2D(inputs)", "nn.BatchNorm2D(inputs, momentum=0.997)"), r"transition\.norm", "momentum"),
    train("dropout rate", "Vgg", "same", ("Vgg", "nn.Dropout(0.5)", "nn.Dropout(0.3)"), "drop", r"\bp\b|rate"),
    train("dropout rate", "Mobile", "renamed", ("Mobile", "nn.Dropout(0.2)", "nn.Dropout(0.8)"), "drop", r"\bp\b|rate"),
    train("dropout missing", "Mobile", "regrouped", None, "drop", "missing|only in the reference"),
    train("dropout not scaled", "Vgg", "same", ("Vgg", "nn.Dropout(0.5)", 'nn.Dropout(0.5, mode="downscale_in_infer")'), "drop", "mode|scale"),
    train("dropout of channels", "Vgg", "same", ("Vgg", "self.drop(self.act1(self.fc1(x)))", "F.dropout(self.act1(self.fc1(x)), 0.5, axis=0, training=self.training)"), "drop", "axis|kind|mask"),
    train("global statistics", "Residual", "same", ("Bottleneck", "self.bn2 = nn.BatchNorm2D(width)", "self.bn2 = nn.BatchNorm2D(width, use_global_stats=True)"), r"layer\d\.\d\.bn2", "use_global_stats|training|batch"),
    train("global statistics", "Residual", "regrouped", ("ConvNormAct", "x = self.norm(self.conv(x))", "x = self.norm.eval()(self.conv(x))"), r"(.*\.)?(bn\d|downsample\.1)", "use_global_stats|training|eval|batch", pair="torch/torch"),
    train("detach", "UNet", "same", ("UNet", "self.up2(y)]", "self.up2(y.detach())]"), "|up2|middle.*", GRADIENT),
]

BN2 = ("Vgg", "self.bn2 = nn.BatchNorm2D(8)", "self.bn2 = nn.BatchNorm2D(8, epsilon=0.001)")
SEVERAL = [
    Row("several", "Vgg", "same", edits_of(BN2, ("Vgg", "self.relu3(self.bn3(self.conv3(x)))", "self.bn3(self.conv3(x))")), (Planted("bn2", "eps"), Planted("|relu3", "missing|only in the reference"), Planted("fc2", "transposed")), weights=put("fc2.weight", lambda w: w.T)),
    Row("several", "Residual", "same", edits_of(("Residual", "stride=2, padding=1)", "stride=2, padding=1, ceil_mode=True)"), ("Residual", "self.avgpool =", "self.layer2[4].bn1 = nn.BatchNorm2D(8, epsilon=0.001)\n        self.avgpool =")), (Planted(r"layer2\.4\.bn1", "eps"), Planted(r"layer1\.3\.bn2", "not copied|default"), Planted("maxpool", "ceil")), weights=STATISTICS("layer1.3.bn2"), options={"depth": 6}),
    Row("several", "Residual", "regrouped", edits_of(("Block", "F.relu(short + y)", "F.relu(0.1 * y + short)"), ("ConvNormAct", "nn.BatchNorm2D(outputs)", "nn.BatchNorm2D(outputs, epsilon=0.001)")), (Planted(r"(.*\.)?(bn\d|downsample\.1)", "eps"), Planted(r"layer\d\.\d(\.add\(\))?", "scale|times|mul"))),
    Row("several", "Mobile", "renamed", edits_of(("Squeeze", "nn.Hardsigmoid()", "nn.Sigmoid()"), ("Mobile", "self.nonlinearity1 = nn.Hardswish()", "self.nonlinearity1 = nn.ReLU()")), (Planted(r"block\d\.se\.gate", "sigmoid"), Planted("act1", "relu"))),
    Row("several", "Inception", "regrouped", edits_of(("Branches", ", exclusive=False", ""), ("Inception", "epsilon=0.001", "epsilon=1e-5")), (Planted(r"mixed\d\.pool", "count_include_pad|divisor"), Planted("norm", "eps"))),
    Row("several", "UNet", "same", edits_of(("UNet", "align_corners=True", "align_corners=False"), ("UNet", "[b, self.up2(y)]", "[self.up2(y), b]")), (Planted(r"|interpolate\(\)", "align_corners"), Planted(r"|cat\(\)", "order"))),
    Row("several", "Dense", "same", edits_of(("Dense", "F.relu(self.norm5(x))", "F.gelu(self.norm5(x))")), (Planted(r"|relu\(\)|norm5", "gelu"), Planted(r"block1\.0\.norm1", "gamma|beta|holds"), Planted("classifier", "bias")), weights=both(lambda s: s.update({"block1.0.norm1.weight": s["block1.0.norm1.bias"], "block1.0.norm1.bias": s["block1.0.norm1.weight"]}), put("classifier.bias", lambda b: 0 * b))),
    Row("several", "Segmentation", "regrouped", edits_of(("Segmentation", "nn.LeakyReLU(0.1)", "nn.LeakyReLU()"), ("Aspp", "(0, 2, 4)", "(0, 2, 3)")), (Planted("act1", "slope"), Planted(r"pyramid\.conv3", "dilation"))),
    Row("several", "Shuffle", "renamed", edits_of(("Unit", "return shuffle(out, 2)", "return out"), ("Shuffle", "nn.MaxPool2D(3, stride=2, padding=1)", "nn.MaxPool2D(2, stride=2)")), (Planted(r"stage\.\d.*", "shuffle|missing|only in the reference"), Planted("maxpool", "kernel|padding"))),
]
# fmt: on
