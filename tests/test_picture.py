"""What --input may name, and what a network is given for it."""

import numpy as np
import pytest
from PIL import Image

from parity.errors import ParityError
from parity.picture import load_input, load_picture

pytestmark = pytest.mark.core

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
IMAGENET = (1, 3, 224, 224)


def refused(what, shape=IMAGENET):
    with pytest.raises(ParityError) as error:
        load_input(str(what), shape)
    assert "\n" not in str(error.value)
    return str(error.value)


def saved(path, array):
    np.save(path, array)
    return str(path)


def test_what_is_no_picture(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    Image.effect_noise((64, 64), 60).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:1000])
    assert "text.jpg: not a picture that can be read; give a JPEG or PNG" in refused(tmp_path / "text.jpg")
    assert "cut.png: not a picture that can be read" in refused(tmp_path / "cut.png")
    assert "gone.png: No such file" in refused(tmp_path / "gone.png")
    assert refused("").startswith("--input : Is a directory")


@pytest.mark.parametrize("shape", ["0,3,8,8", "1,3,8", "1,3,8,8,8", "3", "1,-3,8,8"])
def test_what_is_no_shape(shape):
    assert refused(shape) == f"--input {shape}: a shape is N,C,H,W, each at least 1; for example 1,3,224,224"


@pytest.mark.parametrize("shape", ["1,3,9000000,9000000", "1,3,99999999999,99999999999", f"1,3,{10**400},8"])
def test_a_shape_that_no_machine_holds(shape):
    assert f"--input {shape}: too large for this machine" in refused(shape)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.array(["a"]),
        np.ones((1, 3, 4, 4), complex),
        np.ones((1, 3, 4, 4), bool),
    ],
)
def test_an_array_that_holds_no_real_numbers(tmp_path, array):
    assert "not a .npy file of numbers" in refused(saved(tmp_path / "a.npy", array))


def test_a_damaged_array_file(tmp_path):
    whole = saved(tmp_path / "a.npy", np.ones((1, 3, 8, 8)))
    content = (tmp_path / "a.npy").read_bytes()
    damages = (b"", b"text", content[:40], content[:500], content.replace(b"8, 8)", b"8, 8 "), content[::-1])
    for damage in damages:
        (tmp_path / "a.npy").write_bytes(damage)
        assert "not a .npy file of numbers" in refused(whole)
    assert "gone.npy: cannot read: No such file" in refused(tmp_path / "gone.npy")


def test_a_wrong_number_of_channels(tmp_path):
    words = "4 channels (shape (2, 4, 8, 8)), the network takes 3"
    assert refused("2,4,8,8") == f"--input 2,4,8,8: {words}"
    path = saved(tmp_path / "four.npy", np.ones((2, 4, 8, 8)))
    assert refused(path) == f"--input {path}: {words}"
    assert "a picture has 1 or 3 channels, the network takes 5: give --input N,5,H,W" in refused("a.png", (1, 5, 8, 8))


def test_an_empty_batch(tmp_path):
    path = saved(tmp_path / "none.npy", np.ones((0, 3, 8, 8)))
    assert "a batch needs at least one image" in refused(path)


def test_the_photograph_is_normalised():
    image = load_input(None, None)
    assert (image.shape, image.dtype) == (IMAGENET, np.float32)
    assert image.flags.c_contiguous
    assert np.abs(image.mean(axis=(0, 2, 3))).max() < 0.6
    assert 0.8 < image.std() < 1.5
    pixels = image[0].transpose(1, 2, 0) * DEVIATION + MEAN
    assert pixels.min() == pytest.approx(0, abs=1e-6)
    assert pixels.max() == pytest.approx(1, abs=1e-6)


def test_one_channel_is_grey():
    image = load_input(None, (1, 1, 28, 28))
    assert image.shape == (1, 1, 28, 28)
    grey = image * DEVIATION.mean() + MEAN.mean()
    colours = load_input(None, (1, 3, 28, 28))[0] * DEVIATION[:, None, None] + MEAN[:, None, None]
    assert np.abs(grey[0, 0] - np.tensordot([0.299, 0.587, 0.114], colours, 1)).max() < 0.01


@pytest.mark.parametrize("shape", [(1, 3, 299, 299), (2, 3, 32, 48), (3, 1, 65, 33), (1, 3, 1, 1), (1, 3, 1000, 1)])
def test_other_sizes(shape):
    image = load_input(None, shape)
    assert image.shape == shape
    assert np.isfinite(image).all()
    assert (image == image[:1]).all()


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("size", [(500, 333), (120, 250), (224, 224)])
@pytest.mark.extras
def test_a_picture_is_prepared_as_torchvision_does(tmp_path, ending, size):
    from torchvision import transforms

    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"noise.{ending}")
    with Image.open(tmp_path / f"noise.{ending}") as picture:
        steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
        expected = transforms.Compose([*steps, transforms.Normalize(MEAN, DEVIATION)])(picture)[None].numpy()
    image = load_input(str(tmp_path / f"noise.{ending}"), IMAGENET)
    assert image.dtype == expected.dtype
    assert np.abs(image - expected).max() < 1e-6


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "LA", "1"])
def test_every_mode_of_picture_comes_out_in_colour(tmp_path, mode):
    ending = "tif" if mode == "CMYK" else "png"
    Image.new("RGB", (40, 30), (255, 255, 255)).convert(mode).save(tmp_path / f"white.{ending}")
    image = load_input(str(tmp_path / f"white.{ending}"), (2, 3, 8, 8))
    white = ((1 - MEAN) / DEVIATION)[None, :, None, None]
    assert np.abs(image - np.broadcast_to(white, (2, 3, 8, 8))).max() < 1e-6


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", ">f4", "<f2"])
def test_an_array_of_floats_is_taken_as_float32(tmp_path, kind):
    values = np.linspace(-3, 3, 24).reshape(2, 3, 2, 2).astype(kind)
    array = load_input(saved(tmp_path / "a.npy", values), (1, 3, 2, 2))
    assert array.dtype == np.dtype(np.float32)
    assert (array == values.astype(np.float32)).all()


@pytest.mark.parametrize("kind", ["<i8", ">i4", "|u1"])
def test_an_array_of_integers_stays_one_in_this_machines_byte_order(tmp_path, kind):
    values = np.arange(12).reshape(3, 4).astype(kind)
    array = load_input(saved(tmp_path / "a.npy", values), IMAGENET)
    assert (array.dtype.kind, array.dtype.itemsize) == (values.dtype.kind, values.dtype.itemsize)
    assert array.dtype.isnative
    assert (array == values).all()


def test_a_shape_gives_the_same_numbers_every_time():
    array = load_input("2,3,50,70", IMAGENET)
    assert (array.shape, array.dtype) == ((2, 3, 50, 70), np.float32)
    assert (array == load_input("2,3,50,70", None)).all()
    assert not (array[0] == array[1]).all()
    assert array.mean() == pytest.approx(0, abs=0.02)
    assert array.std() == pytest.approx(1, abs=0.02)
    assert np.isfinite(array).all()


def test_a_picture_of_extreme_shape_takes_little_memory_and_is_what_the_whole_would_be(monkeypatch, tmp_path):
    """Resized whole, a picture of 3 x 30000 pixels would have 256 x 2560000."""
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda *args, **more: sizes.append(args[1]) or resize(*args, **more))
    column = np.random.default_rng(0).integers(0, 256, (30000, 3, 3), dtype=np.uint8)
    Image.fromarray(column).save(tmp_path / "long.png")
    found = load_picture(str(tmp_path / "long.png"), 3, 224, 224)
    assert sizes == [(228, 228)]
    # The same as of the part that can be seen, but for a grey level.
    Image.fromarray(column[14985:15015]).save(tmp_path / "part.png")
    part = load_picture(str(tmp_path / "part.png"), 3, 224, 224)
    np.testing.assert_allclose(found, part, rtol=0, atol=1.01 / 255 / DEVIATION.min())
