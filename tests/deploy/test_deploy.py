"""Exported files at work: `predict` and `precision`. Bad input first."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from pairs import small
from PIL import Image
from program import run

from parity import ParityError, limited
from parity.deploy.classify import Classifier, read_labels
from parity.deploy.precision import lower, report
from parity.deploy.preparation import as_metadata
from parity.picture import Preparation, load_picture, pictures_in

SIZE = 32, 30


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("deploy") / "small.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            small()[0], (torch.zeros(2, 3, *SIZE),), path, dynamo=True, opset_version=18, external_data=False,
            verbose=False, dynamic_shapes=({0: torch.export.Dim("n")},),
        )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(11):
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((60, 50)).save(folder / f"{i:02}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "sub").mkdir()
    return folder


@pytest.fixture
def parity(monkeypatch):
    """The program in this process, which is none to fork: `parity.limited` has tests of its own."""
    monkeypatch.setattr(limited, "limited", lambda work, *_: work())
    return run


def alone(*words, prelude=""):
    code = f"{ALONE}{prelude}\nfrom parity.commands.program import main\nmain()"
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Whoever asks for one of them gets what a machine without them gives.
ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "paddle", "torchvision", "onnx", "onnxscript", "onnx_ir", "paddle2onnx"}:
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Absent())
"""


def test_bad_pictures_labels_and_files_are_one_line_and_leave_nothing(parity, model, pictures, tmp_path):
    (tmp_path / "few.txt").write_text("cat\ndog\n")
    (tmp_path / "broken.png").write_bytes((pictures / "00.png").read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.onnx").write_bytes(model.read_bytes()[:5000])
    good = pictures / "00.png"
    for words, message in (
        ((tmp_path / "bad.onnx", good), "refuses it"),
        ((tmp_path / "none.onnx", good), "no such file"),
        ((model, good, tmp_path / "broken.png"), "give a JPEG or PNG"),
        ((model, good, "--labels", tmp_path / "few.txt"), "2 names, but"),
        ((model, tmp_path / "empty"), "no pictures in this folder"),
    ):
        done = parity("predict", *words, "--json", tmp_path / "out.json")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert message in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_labels_that_are_none_are_refused(tmp_path):
    for name, content in (("a.json", "{"), ("b.json", '{"1": "x"}'), ("c.json", "7")):
        (tmp_path / name).write_text(content)
        with pytest.raises(ParityError, match="not a list of names"):
            read_labels(tmp_path / name)
    with pytest.raises(ParityError, match="cannot read"):
        read_labels(tmp_path / "missing")
    (tmp_path / "i.json").write_text('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}')
    assert read_labels(tmp_path / "i.json") == ["tench", "goldfish"]


def test_predict_needs_neither_framework_nor_onnx(model, pictures, tmp_path):
    (tmp_path / "names").write_text("\n".join(f"class {i}" for i in range(16)) + "\n")
    words = ("predict", model, pictures, pictures / "03.png", "--labels", tmp_path / "names", "--batch", 4)
    done = alone(*words, "--json", tmp_path / "out.json", "--threads", 1)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "out.json").read_text())["pictures"]
    assert [entry["picture"] for entry in found[:2]] == [str(pictures / "00.png"), str(pictures / "01.png")]
    assert len(found) == 12  # what is no picture in the folder, and folders within, are left alone
    assert found[3]["classes"] == found[11]["classes"]  # whatever it shares a batch with
    best = found[0]["classes"]
    assert [entry["label"] for entry in best] == [f"class {entry['index']}" for entry in best]
    assert len(best) == 5
    assert sorted((entry["probability"] for entry in best), reverse=True) == [entry["probability"] for entry in best]
    assert "class" in done.stdout


def test_the_check_that_frameworks_are_absent_can_fail():
    assert alone("--help", prelude="\nimport torch").returncode != 0


def test_a_file_of_a_fixed_batch_takes_any_number_of_pictures(model, pictures, tmp_path):
    fixed = onnx.load(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(fixed, tmp_path / "four.onnx")
    paths = pictures_in([pictures])
    answers = [
        dict(Classifier.open(path, "cpu", 1).guesses(paths, None, 3, batch))
        for path, batch in ((model, 11), (tmp_path / "four.onnx", 11))
    ]
    assert list(answers[0]) == paths
    for path in paths:
        assert [guess.index for guess in answers[0][path]] == [guess.index for guess in answers[1][path]]


def test_what_cannot_be_calibrated_is_refused_and_nothing_is_written(model, tmp_path):
    target = tmp_path / "low.onnx"
    np.save(tmp_path / "size.npy", np.zeros((2, 3, 8, 8), np.float32))
    np.save(tmp_path / "nan.npy", np.full((2, 3, *SIZE), np.nan, np.float32))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    (tmp_path / "empty").mkdir()
    for precision, calibrate, match in (
        ("int8", None, "give --calibrate"),
        ("int4", None, "unknown precision"),
        ("int8", tmp_path / "size.npy", "give floats of"),
        ("int8", tmp_path / "nan.npy", "NaN or infinity"),
        ("int8", tmp_path / "junk.npy", "not a .npy file"),
        ("int8", tmp_path / "empty", "no pictures"),
        ("fp16", tmp_path / "gone.npy", "cannot read"),
    ):
        with pytest.raises(ParityError, match=match):
            lower(model, target, precision, calibrate)
    (tmp_path / "bad.onnx").write_bytes(b"no onnx")
    with pytest.raises(ParityError, match="refuses it"):
        lower(tmp_path / "bad.onnx", target, "fp16")
    assert not target.exists()
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("precision, worst", [("fp16", 0.02), ("int8", 0.5)])
def test_lower_precision_is_held_against_the_file(precision, worst, model, pictures, tmp_path):
    found = lower(model, tmp_path / "low.onnx", precision, pictures, rounds=3)
    assert (found.images, found.calibrated, found.judged_on) == (
        (11, 0, str(pictures)) if precision == "fp16" else (5, 6, str(pictures))
    )
    assert 0 < found.mean <= found.worst < worst
    assert found.size == (tmp_path / "low.onnx").stat().st_size / model.stat().st_size
    assert found.speed > 0
    assert found.top1 >= 0.8
    low = onnx.load(tmp_path / "low.onnx")
    types = [value.type.tensor_type.elem_type for value in (*low.graph.input, *low.graph.output)]
    assert types == [onnx.TensorProto.FLOAT] * 2
    kinds = {tensor.data_type for tensor in low.graph.initializer}
    assert (onnx.TensorProto.INT8 if precision == "int8" else onnx.TensorProto.FLOAT16) in kinds
    if precision == "int8":  # activations unsigned, a scale for each channel of the weights
        assert onnx.TensorProto.UINT8 in kinds
        assert any(tensor.name.endswith("_scale") and list(tensor.dims) == [8] for tensor in low.graph.initializer)


def test_a_lower_file_does_not_boast_of_what_was_proved_of_the_other(model, tmp_path):
    made = onnx.load(model)
    told = {"framework": "torch", "verdict": "rounding", "noise": "3", "canonical_sha256": "abc"}
    onnx.helper.set_model_props(made, {f"parity.{word}": value for word, value in told.items()})
    onnx.save(made, tmp_path / "full.onnx")
    found = lower(tmp_path / "full.onnx", tmp_path / "low.onnx", "fp16", rounds=1)
    low = {entry.key: entry.value for entry in onnx.load(tmp_path / "low.onnx").metadata_props}
    assert set(low) == {
        f"parity.{word}" for word in ("framework", "made_from", "precision", "images", "top1", "worst", "mean")
    }
    assert (low["parity.made_from"], low["parity.precision"]) == ("abc", "fp16")
    assert float(low["parity.worst"]) == pytest.approx(found.worst, rel=1e-3)


def test_the_program_reports_what_it_costs(model, tmp_path):
    words = ("precision", model, "--to", "fp16", "-o", tmp_path / "h.onnx", "--json", tmp_path / "h.json")
    done = run(*words, "--threads", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert "x the size" in done.stdout
    assert json.loads((tmp_path / "h.json").read_text())["images"] == 4


# Pictures as the file takes them


def classifier(path, shape, scale=1.0, ends=(), metadata=(), dtype=TensorProto.FLOAT):
    """Write a file whose logits are the means of its three channels, times `scale`."""
    last = shape[1] not in (1, 3)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "scale"], ["scaled"]),
        *(helper.make_node(kind, ["scaled"], ["logits"]) for kind in ends or ("Identity",)),
    ]
    held = [
        numpy_helper.from_array(np.array([1, 2] if last else [2, 3]), "axes"),
        numpy_helper.from_array(np.float32(scale), "scale"),
    ]
    values = [
        helper.make_tensor_value_info("image", dtype, shape),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3]),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(made, dict(metadata))
    onnx.save(made, path)
    return path


@pytest.fixture
def blue(tmp_path):
    Image.fromarray(np.full((30, 40, 3), (10, 20, 240), np.uint8)).save(tmp_path / "blue.png")
    (tmp_path / "names.txt").write_text("first\nsecond\nthird\n")
    return tmp_path / "blue.png"


@pytest.fixture
def predicted(parity):
    """A function that returns how a picture was prepared, and its most likely class."""

    def told(path, picture, *words):
        done = parity("predict", path, picture, "--labels", picture.parent / "names.txt", "--top", 1, *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        prepared, _, best = done.stdout.splitlines()
        return prepared, best.split()[-1]

    return told


def test_what_a_file_does_not_take_is_refused(parity, blue, tmp_path):
    colour = classifier(tmp_path / "colour.onnx", ["n", 3, 8, 8])
    grey = classifier(tmp_path / "grey.onnx", ["n", 1, 8, 8])
    five = classifier(tmp_path / "five.onnx", ["n", 5, 8, 8])
    for path, words, message in (
        (colour, ("--size", "9"), "--size 9x9: "),
        (grey, ("--channels", "bgr"), "takes grey pictures"),
        (five, (), "not pictures of (N, 1 or 3, height, width) or (N, height, width, 1 or 3)"),
        (colour, ("--mean", "x"), "--mean: 'x'"),
        (colour, ("--preprocessor", tmp_path / "gone.json"), "gone.json: cannot read: No such file"),
    ):
        done = parity("predict", path, blue, *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert message in done.stderr


def test_a_file_of_bgr_pixels_gets_them(predicted, blue, tmp_path):
    """baudm/parseq#162, roboflow/rf-detr#1203, PaddlePaddle/PaddleX#3924."""
    path = classifier(tmp_path / "net.onnx", ["n", 3, 8, 8], scale=1 / 255)
    prepared, best = predicted(path, blue)
    assert "by default, ImageNet's way: nothing states another" in prepared
    assert best == "third"  # blue is the last of RGB
    prepared, best = predicted(path, blue, "--channels", "bgr", "--range", "0..255")
    assert prepared.startswith("pictures: BGR, 0..255, no mean or deviation; shorter side to 9 (bilinear), 8x8 cut")
    assert best == "first"


def test_the_files_metadata_say_how(predicted, blue, tmp_path):
    path = classifier(tmp_path / "net.onnx", ["n", 3, 8, 8], metadata=as_metadata(Preparation(channels="bgr")).items())
    prepared, best = predicted(path, blue)
    assert prepared.endswith("from the file's metadata")
    assert best == "first"


def test_a_configuration_beside_the_file_says_how(predicted, blue, tmp_path):
    path = classifier(tmp_path / "net.onnx", ["n", 3, 8, 8])
    config = {"do_normalize": False, "do_flip_channel_order": True, "size": {"height": 8, "width": 8}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    prepared, best = predicted(path, blue)
    assert prepared.endswith("stretched to 8x8 (bilinear); from preprocessor_config.json")
    assert best == "first"


def test_channels_last_and_integers_are_read_from_the_file(predicted, blue, tmp_path):
    path = classifier(tmp_path / "net.onnx", ["n", 8, 6, 3], scale=1 / 255, dtype=TensorProto.UINT8)
    prepared, best = predicted(path, blue)
    assert "0..255, no mean or deviation; shorter side to 6 (bilinear), 8x6 cut" in prepared
    assert best == "third"
    open_size = classifier(tmp_path / "open.onnx", ["n", "h", "w", 3])
    assert "48x40 cut" in predicted(open_size, blue, "--size", "48,40")[0]


def test_outputs_that_are_probabilities_stay_as_they_are(blue, tmp_path):
    path = classifier(tmp_path / "net.onnx", ["n", 3, 8, 8], ends=("Softmax",))
    ((_, best),) = Classifier.open(path, "cpu", 1).guesses([blue], None, 3, 1)
    means = load_picture(str(blue), 3, 8, 8).mean(axis=(0, 2, 3))
    odds = np.exp(means) / np.exp(means).sum()
    assert [guess.probability for guess in best] == pytest.approx(sorted(odds, reverse=True), rel=1e-5)


# What lower precision costs


def test_a_file_below_the_least_share_of_same_classes_is_exit_1(model, pictures, monkeypatch, tmp_path):
    words = ("precision", model, "--to", "int8", "--calibrate", pictures, "-o", tmp_path / "l.onnx", "--threads", 1)
    monkeypatch.setattr("parity.deploy.precision.report", lambda *each: replace(report(*each), top1=0.6))
    done = run(*words, "--min-top1", 61)
    assert done.returncode == 1
    assert done.stderr.endswith("l.onnx: same most likely class for 60.0%, below --min-top1 61\n")
    assert "warning: int8 changes the most likely class of 40.0% of the pictures: measure its accuracy" in done.stdout
    done = run(*words, "--min-top1", 60)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"of 5 pictures ({pictures}, other than the 6 it was calibrated on); logits" in done.stdout
    assert "warning: 6 pictures to calibrate on and 5 to judge on are few" in done.stdout


def test_one_picture_cannot_judge_what_was_calibrated_on_it(model, pictures, tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((1, 3, *SIZE), np.float32))
    found = lower(model, tmp_path / "low.onnx", "int8", tmp_path / "one.npy", rounds=1)
    assert not found.held_out
    assert any("judged on the picture that it was calibrated on" in warning for warning in found.warnings())
    fixed = onnx.load(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(fixed, tmp_path / "four.onnx")
    with pytest.raises(ParityError, match="takes 4 pictures at a time; to calibrate on there are 1"):
        lower(tmp_path / "four.onnx", tmp_path / "low4.onnx", "int8", tmp_path / "one.npy")


def test_fp16_says_which_pictures_it_was_judged_on(model, tmp_path):
    found = lower(model, tmp_path / "low.onnx", "fp16", rounds=1)
    assert "of 4 pictures (the project's photograph, turned and mirrored); logits" in str(found)
    assert found.warnings() == []


def test_a_lower_file_keeps_how_its_pictures_are_prepared(model, tmp_path):
    made = onnx.load(model)
    expected = Preparation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bgr", size=SIZE)
    helper.set_model_props(made, as_metadata(expected))
    onnx.save(made, tmp_path / "full.onnx")
    _ = lower(tmp_path / "full.onnx", tmp_path / "low.onnx", "fp16", rounds=1)
    assert Classifier.open(tmp_path / "low.onnx", "cpu", 1).prepared.preparation == expected
