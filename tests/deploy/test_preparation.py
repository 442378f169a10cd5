"""How pictures are prepared: what cannot be done is refused, and who says how comes first."""

import json

import numpy as np
import pytest
from PIL import Image

from parity.deploy.configurations import configured
from parity.deploy.preparation import (
    Prepared,
    as_metadata,
    asked,
    preparation_of,
    prepared,
    published,
    requested,
)
from parity.errors import ParityError
from parity.picture import IMAGENET, Preparation, load_picture
from parity.zoo import NETWORKS

pytestmark = pytest.mark.core

# As transformers writes it for ResNet, ViT, ConvNeXt and EfficientNet, and timm for a ResNet.
RESNET = {
    "do_resize": True, "size": {"shortest_edge": 256}, "resample": 3, "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.5, 0.5],
}  # fmt: skip
TIMM = {
    "architecture": "resnet50",
    "pretrained_cfg": {
        "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 224, 224], "interpolation": "bicubic",
        "crop_pct": 0.95, "crop_mode": "center",
    },
}  # fmt: skip


def configuration(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


# Must be refused


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mean": "a"}, "--mean: 'a': give one number, or three"),
        ({"mean": (1.0, 2.0)}, "--mean: '1.0,2.0': give one number, or three"),
        ({"std": 0}, "--std: mean and std are finite, and std is not 0"),
        ({"std": "nan"}, "--std: 'nan'"),
        ({"range": "-1..1"}, "--range: '-1..1': give 0..1 or 0..255; -1..1 is 0..1 with mean 0.5 and std 0.5"),
        ({"range": "0..0"}, "--range"),
        ({"size": "224x224"}, "--size: '224x224': give H or H,W in pixels"),
        ({"size": 0}, "--size"),
        ({"crop": 1.5}, "--crop: crop is a part of a side"),
        ({"channels": "bgra"}, "--channels: unknown channels 'bgra'; known: rgb, bgr"),
        ({"resize_mode": "pad"}, "--resize-mode: unknown resize mode 'pad'; known: crop, stretch"),
        ({"interpolation": "cubic"}, "--interpolation: unknown interpolation 'cubic'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_option(options, message):
    with pytest.raises(ParityError) as error:
        requested(options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"do_pad": True}, "do_pad: not done here"),
        ({"do_resize": False}, "do_resize false"),
        ({"rescale_offset": True}, "rescale_offset"),
        ({"resample": 9}, "resample 9"),
        ({"size": {"longest_edge": 3}}, "size {'longest_edge': 3}: not done here"),
        ({"image_mean": [1, 2]}, "one for each of three channels"),
        ({"image_std": [0, 0, 0]}, "std is not 0"),
        ({"crop_size": 300}, "crop is a part of a side"),
    ],
)
def test_a_configuration_of_what_is_not_done_is_refused_unless_the_user_says_how(change, message, tmp_path):
    path = configuration(tmp_path / "preprocessor_config.json", {**RESNET, **change})
    with pytest.raises(ParityError, match=r"preprocessor_config\.json: ") as error:
        prepared(tmp_path / "net.onnx", {})
    assert message in str(error.value)
    assert prepared(tmp_path / "net.onnx", {}, requested({"mean": 0.5})).origin.endswith("ImageNet's, by default")
    with pytest.raises(ParityError):  # the user says to read it
        prepared(tmp_path / "net.onnx", {}, requested({"mean": 0.5, "preprocessor": path}))


def test_damaged_configurations_and_metadata_are_one_line(tmp_path):
    for text in ("{", "[" * 100000):
        with pytest.raises(ParityError, match="cannot read"):
            configured(configuration(tmp_path / "a.json", text))
    assert configured(configuration(tmp_path / "b.json", {"model_type": "resnet"})) is None
    assert configured(configuration(tmp_path / "c.json", [1])) is None
    for text in ({"model_type": "resnet"}, [1]):
        with pytest.raises(ParityError, match=r"neither a preprocessor_config\.json"):
            prepared(tmp_path / "x.onnx", {}, requested({"preprocessor": configuration(tmp_path / "d.json", text)}))
    with pytest.raises(ParityError, match=r"net.onnx: its metadata parity.picture.\*: 'x': give one number"):
        prepared(tmp_path / "net.onnx", {"parity.picture.mean": "x"})


def test_a_network_of_five_channels_takes_no_pictures():
    assert preparation_of("", (5, 8, 8), requested({})) is None
    with pytest.raises(ParityError, match="takes 5 channels, not pictures"):
        preparation_of("", (5, 8, 8), requested({"mean": 0.5}))


# Who says how


def test_flags_come_first_then_the_configuration_given_then_metadata_then_one_beside(tmp_path):
    file, metadata = tmp_path / "net.onnx", as_metadata(Preparation((0.1,), (0.2,)))
    assert prepared(file, {}) == Prepared(IMAGENET, "")
    _ = configuration(tmp_path / "config.json", TIMM)
    assert prepared(file, {}).origin == "from config.json"
    _ = configuration(tmp_path / "preprocessor_config.json", RESNET)
    assert prepared(file, {}).origin == "from preprocessor_config.json"
    found = prepared(file, metadata)
    assert (found.origin, found.preparation.mean) == ("from the file's metadata", (0.1,))
    given = configuration(tmp_path / "given.json", TIMM)
    found = prepared(file, metadata, requested({"preprocessor": given}))
    assert (found.origin, found.preparation.mean) == ("from given.json", (0.5, 0.5, 0.5))
    found = prepared(file, metadata, requested({"preprocessor": given, "mean": "0.3"}))
    assert found.origin == "as --mean says, the rest: from given.json"
    assert (found.preparation.mean, found.preparation.std) == ((0.3,), (0.25, 0.25, 0.25))


def test_a_config_of_something_else_beside_the_file_is_none(tmp_path):
    _ = configuration(tmp_path / "config.json", {"model_type": "resnet"})
    assert prepared(tmp_path / "net.onnx", {}).origin == ""


def test_another_range_or_order_takes_mean_and_deviation_along():
    base = Prepared(IMAGENET, "")
    plain = asked(base, requested({"range": "0..255"})).preparation
    assert (plain.mean, plain.std, plain.white) == ((0.0,), (1.0,), 255.0)
    turned = asked(base, requested({"channels": "bgr"})).preparation
    assert turned.mean == IMAGENET.mean[::-1]
    given = asked(base, requested({"channels": "bgr", "mean": (1, 2, 3)})).preparation
    assert given.mean == (1.0, 2.0, 3.0)  # in the order that the network takes


def test_metadata_hold_the_whole_preparation():
    made = Preparation((1, 2, 3), (4, 5, 6), "bgr", 255.0, "stretch", 0.5, "bicubic", (3, 4))
    assert prepared("x.onnx", as_metadata(made)).preparation == made


def test_the_zoo_knows_its_pictures():
    for name, network in NETWORKS.items():
        made = published(name)
        assert made is not None
        assert made.size == network.input[2:]
        assert len(made.mean) == (1 if network.input[1] == 1 else 3)
    assert published("resnet50") == Preparation(IMAGENET.mean, IMAGENET.std, crop=0.875, size=(224, 224))
    assert published("mine") is None


# What the others do


def test_transformers_resnet_vit_convnext_efficientnet_mobilevit_and_timm(tmp_path):
    def read(data):
        return configured(configuration(tmp_path / "x.json", data))

    assert read(RESNET) == Preparation(
        (0.5, 0.4, 0.3), (0.25, 0.5, 0.5), crop=224 / 256, interpolation="bicubic", size=(224, 224)
    )
    vit = {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224}
    assert read(vit) == Preparation((0.5,) * 3, (0.5,) * 3, resize="stretch", size=(224, 224))
    convnext = {**RESNET, "size": {"shortest_edge": 224}, "crop_pct": 0.875, "do_center_crop": False}
    assert (read(convnext).crop, read(convnext).resize, read(convnext).size) == (0.875, "crop", (224, 224))
    efficient = {**RESNET, "include_top": True, "size": {"height": 224, "width": 224}, "do_center_crop": False}
    assert (read(efficient).std, read(efficient).resize) == ((0.0625, 0.25, 0.25), "stretch")
    mobilevit = {**RESNET, "do_normalize": False, "do_flip_channel_order": True}
    assert (read(mobilevit).channels, read(mobilevit).mean, read(mobilevit).white) == ("bgr", (0.0,), 1.0)
    raw = {**RESNET, "do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 50.0, 40.0]}
    assert (read(raw).white, read(raw).mean) == (255.0, (120.0, 110.0, 100.0))
    assert read(TIMM) == Preparation((0.5,) * 3, (0.25,) * 3, crop=0.95, interpolation="bicubic", size=(224, 224))


def test_pixels_are_ordered_scaled_and_normalised(tmp_path):
    colours = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(colours).save(tmp_path / "a.png")
    made = Preparation((1, 2, 3), (2, 4, 8), "bgr", 255.0)
    found = load_picture(str(tmp_path / "a.png"), 3, 4, 4, made)
    expected = (colours[..., ::-1] - np.array([1.0, 2, 3])) / np.array([2.0, 4, 8])
    assert (found[0].transpose(1, 2, 0) == expected.astype(np.float32)).all()


def test_stretching_keeps_the_whole_picture_and_cropping_its_shape(tmp_path):
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, :10] = 255  # a quarter, at the left edge
    Image.fromarray(wide).save(tmp_path / "a.png")
    stretched = load_picture(str(tmp_path / "a.png"), 3, 8, 8, Preparation(resize="stretch", interpolation="nearest"))
    cropped = load_picture(str(tmp_path / "a.png"), 3, 8, 8, Preparation(interpolation="nearest"))
    assert stretched.mean() == pytest.approx(0.25)
    assert cropped.max() == 0.0


@pytest.mark.parametrize(
    "made, channels, words",
    [
        (Prepared(IMAGENET, ""), 3, "RGB, 0..1, mean 0.485,0.456,0.406, std 0.229,0.224,0.225; shorter side to 256 "
         "(bilinear), 224x224 cut from the middle; by default, ImageNet's way: nothing states another"),
        (Prepared(Preparation(white=255.0, channels="bgr", resize="stretch"), "from x"), 3,
         "BGR, 0..255, no mean or deviation; stretched to 224x224 (bilinear); from x"),
        (Prepared(IMAGENET, "from x"), 1, "grey, 0..1, mean 0.449, std 0.226; shorter side"),
    ],
)  # fmt: skip
def test_one_line_says_it_all(made, channels, words):
    assert made.describe(channels, 224, 224).startswith(words)
