"""Mistakes in the weights: what goes wrong when a script copies them."""

import numpy as np
from catalogue.rows import plant


def put(name, change):
    """Return a change of one tensor."""
    return lambda state: state.update({name: np.ascontiguousarray(change(state[name]))})


def exchange(*pairs):
    """Return an exchange of tensors."""

    def change(state):
        for one, other in pairs:
            state[one], state[other] = state[other], state[one]

    return change


def every(role, change):
    """Return a change of every tensor of a role; "" for all."""
    return lambda state: state.update({name: change(state[name]) for name in state if name.endswith(role)})


def bf16(array):
    """Return float32 numbers cut to bfloat16's bits."""
    return (np.ascontiguousarray(array).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def fp16(array):
    """Return float32 numbers rounded to float16."""
    return array.astype(np.float16).astype(np.float32)


def nhwc(array):
    """Return the weight of a Linear behind a (C, 2, 2) map as if the map were (2, 2, C)."""
    return array.reshape(16, 16, 2, 2).transpose(0, 2, 3, 1).reshape(16, 64)


FLIP = lambda w: w[:, :, ::-1, ::-1]
SIDES = lambda w: w.transpose(0, 1, 3, 2)
ENDS = lambda w: w.transpose(1, 0, 2, 3)
STATISTICS = lambda name: (
    lambda s: s.update(
        {
            f"{name}.running_mean": np.zeros_like(s[f"{name}.running_mean"]),
            f"{name}.running_var": np.ones_like(s[f"{name}.running_var"]),
        }
    )
)


def both(*changes):
    """Return several changes, one after the other."""
    return lambda state: [change(state) for change in changes]


# fmt: off
WEIGHTS = [
    plant("Linear transposed", "Vgg", "same", None, "fc2", "transposed", weights=put("fc2.weight", np.transpose)),
    plant("Linear transposed", "Residual", "regrouped", None, "fc", "transposed", weights=put("fc.weight", np.transpose)),
    plant("Linear transposed", "Mobile", "renamed", None, "fc1", "transposed", weights=put("fc1.weight", np.transpose)),
    plant("Linear transposed", "Residual", "same", None, "fc", "transposed", weights=put("fc.weight", np.transpose), options={"depth": 6}, pair="paddle/torch"),
    plant("kernel flipped", "Vgg", "same", None, "conv2", "flip", weights=put("conv2.weight", FLIP)),
    plant("kernel flipped", "UNet", "renamed", None, r"down2\.conv1", "flip", weights=put("down2.conv1.weight", FLIP)),
    plant("height for width", "Residual", "renamed", None, r"layer1\.0\.conv2", "height|width|last two axes", weights=put("layer1.0.conv2.weight", SIDES)),
    plant("height for width", "Shuffle", "regrouped", None, r"stage\.1\.depthwise", "height|width|last two axes", weights=put("stage.1.depthwise.weight", SIDES)),
    plant("in for out", "Vgg", "same", None, "conv2", "in.*out|transposed|axes", weights=put("conv2.weight", ENDS)),
    plant("in for out", "UNet", "same", None, "up2", "in.*out|transposed|axes", weights=put("up2.weight", ENDS)),
    plant("gamma for beta", "Vgg", "same", None, "bn2", "gamma|beta|holds the reference", weights=exchange(("bn2.weight", "bn2.bias"))),
    plant("gamma for beta", "Dense", "regrouped", None, r"block1\.1\.norm2", "gamma|beta|holds the reference", weights=exchange(("block1.1.norm2.weight", "block1.1.norm2.bias"))),
    plant("mean for variance", "Inception", "regrouped", None, "norm", "mean|variance|running", weights=exchange(("norm.running_mean", "norm.running_var"))),
    plant("statistics not copied", "Residual", "same", None, r"layer1\.1\.bn2", "not copied|default", weights=STATISTICS("layer1.1.bn2")),
    plant("statistics not copied", "Residual", "regrouped", None, r"layer2\.5\.bn3", "not copied|default", weights=STATISTICS("layer2.5.bn3"), options={"depth": 6}),
    plant("statistics not copied", "Dense", "renamed", None, r".*norm\d?", "not copied|default", weights=both(every("running_mean", np.zeros_like), every("running_var", np.ones_like))),
    plant("variance is a deviation", "Vgg", "renamed", None, "bn1", "running_var", weights=put("bn1.running_var", np.sqrt)),
    plant("bias not copied", "Inception", "same", None, "stem", "bias", weights=put("stem.bias", np.zeros_like)),
    plant("bias not copied", "Mobile", "regrouped", None, r"block2\.se\.expand", "bias", weights=put("block2.se.expand.bias", np.zeros_like)),
    plant("bias doubled", "Mobile", "renamed", None, "fc2", "bias.*(doubl|twice|2)", weights=put("fc2.bias", lambda b: 2 * b)),
    plant("bias absent", "Segmentation", "same", ("Segmentation", "nn.Conv2D(8, 3, 1)", "nn.Conv2D(8, 3, 1, bias_attr=False)"), "aux", "bias", weights=lambda s: s),
    plant("bias absent", "Segmentation", "regrouped", ("Segmentation", "nn.Conv2D(8, 4, 1)", "nn.Conv2D(8, 4, 1, bias_attr=False)"), "low", "bias", refusal=True),
    plant("layers exchanged", "Shuffle", "same", None, r"stage\.[01]\.conv1", "exchanged|holds the reference|swapped", weights=exchange(("stage.0.conv1.weight", "stage.1.conv1.weight"))),
    plant("layers exchanged", "UNet", "renamed", None, r"(down2\.conv2|middle\.conv1)", "exchanged|holds the reference|swapped", weights=exchange(("down2.conv2.weight", "middle.conv1.weight"), ("down2.conv2.bias", "middle.conv1.bias"))),
    plant("layers exchanged", "Segmentation", "regrouped", None, r"pyramid\.conv[23]", "exchanged|holds the reference|swapped", weights=exchange(("pyramid.conv2.weight", "pyramid.conv3.weight"))),
    plant("rounded to bf16", "Residual", "same", None, ".*", "bf16|bfloat16", weights=every("", bf16)),
    plant("rounded to fp16", "Vgg", "renamed", None, "conv2", "fp16|float16|half", weights=put("conv2.weight", fp16)),
    plant("rounded to fp16", "Dense", "regrouped", None, ".*", "fp16|float16|half", weights=every("weight", fp16)),
    plant("channels permuted", "Vgg", "same", None, "conv1", "permuted|order", weights=put("conv1.weight", lambda w: w[::-1])),
    plant("channels permuted", "Mobile", "regrouped", None, r"block1\.depthwise", "permuted|order", weights=put("block1.depthwise.weight", lambda w: np.roll(w, 1, 0))),
    plant("channels permuted", "Inception", "renamed", None, r"mixed2\.branch1", "permuted|order", weights=put("mixed2.branch1.weight", lambda w: np.roll(w, 4, 1))),
    plant("BGR weights", "Residual", "renamed", None, "conv1", "BGR|RGB|permuted", weights=put("conv1.weight", lambda w: w[:, ::-1])),
    plant("Linear of NHWC", "Vgg", "regrouped", None, "fc1", "NHWC|permuted|order", weights=put("fc1.weight", nhwc)),
    plant("PReLU not copied", "Segmentation", "same", None, "act2", "not copied|default", weights=put("act2.weight", lambda w: np.full_like(w, 0.25))),
    plant("one number off", "Dense", "same", None, "classifier", "1 of 160|one element", weights=lambda s: s["classifier.weight"].__setitem__((3, 2), 1.001 * s["classifier.weight"][3, 2])),
    plant("Linear transposed", "Vgg", "zoo", None, "fc2", "transposed", weights=put("fc2.weight", np.transpose)),
    plant("Linear transposed", "Mobile", "zoo", None, "fc1", "transposed", weights=put("fc1.weight", np.transpose)),
    plant("statistics not copied", "Residual", "zoo", None, r"layer2\.0\.downsample\.1", "not copied|default", weights=STATISTICS("layer2.0.downsample.1")),
    plant("gamma for beta", "Mobile", "zoo", None, r"block3\.bn2", "gamma|beta|holds the reference", weights=exchange(("block3.bn2.weight", "block3.bn2.bias"))),
    plant("layers exchanged", "Residual", "zoo", None, r"layer[12]\.1\.conv1", "exchanged|holds the reference|swapped", weights=exchange(("layer1.1.conv1.weight", "layer2.1.conv1.weight"))),
    plant("Linear of NHWC", "Vgg", "zoo", None, "fc1", "NHWC|permuted|order", weights=put("fc1.weight", nhwc)),
    plant("kernel flipped", "UNet", "zoo", None, "up2", "flip", weights=put("up2.weight", FLIP)),
]
# fmt: on
