"""Nodes and layers are paired by their weights and by what they read: wrong culprits first, then right ports."""

import numpy as np
import onnx
import pytest
from graphs import numbers, shapeless

from parity import Trace
from parity.backends import onnx_backend
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.judging.pairing import align
from parity.judging.units import other_weights
from parity.numerics.peaks import likeness, peaks

GENERATOR = np.random.default_rng(5)
IMAGE = GENERATOR.standard_normal((1, 3, 6, 6)).astype(np.float32)


def normal(*shape):
    return GENERATOR.standard_normal(shape).astype(np.float32)


WEIGHTS = {"a": normal(3, 3, 3, 3), "b": normal(3, 3, 3, 3), "s": normal(3, 3, 1, 1), "f": normal(4, 3)}
NORMS = {name: numbers(3) for name in ("g1", "b1", "m1", "v1", "g2", "b2", "m2", "v2")}
SAME = "pads = [1, 1, 1, 1]"
# A block with a 1 x 1 shortcut of its branch's shape; then the shortcut first, and the sum the other way round.
ONE = f"""
    c1 = Conv <{SAME}> (x, a)
    n1 = BatchNormalization (c1, g1, b1, m1, v1)
    r1 = Relu (n1)
    c2 = Conv <{SAME}> (r1, b)
    n2 = BatchNormalization <epsilon = 1e-5> (c2, g2, b2, m2, v2)
    sh = Conv (x, s)
    ad = Add (n2, sh)
    r2 = Relu (ad)
    p = GlobalAveragePool (r2)
    fl = Flatten (p)
    y = Gemm <transB = 1> (fl, f)
"""
OTHER = f"""
    t0 = Conv (x, s)
    t1 = Conv <{SAME}> (x, a)
    t2 = BatchNormalization (t1, g1, b1, m1, v1)
    t3 = Relu (t2)
    t4 = Conv <{SAME}> (t3, b)
    t5 = BatchNormalization <epsilon = 1e-5> (t4, g2, b2, m2, v2)
    t6 = Add (t0, t5)
    t7 = Relu (t6)
    t8 = GlobalAveragePool (t7)
    t9 = Flatten (t8)
    y = Gemm <transB = 1> (t9, f)
"""


def save(model, path):
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def traced(body, path, tensors=None):
    save(shapeless(body, {**WEIGHTS, **NORMS, **(tensors or {})}), path)
    trace = path.with_suffix(".trace")
    onnx_backend.record(onnx_backend.load(path), [IMAGE], trace)
    return Trace(trace)


def judged(tmp_path, one, other):
    ours = one if isinstance(one, Trace) else traced(one, tmp_path / "one.onnx")
    theirs = other if isinstance(other, Trace) else traced(other, tmp_path / "other.onnx")
    return with_culprits(judge("block", ours, theirs), ours, theirs, {}, None)


def culprits(result):
    return [culprit.layer for culprit in result.culprits]


def test_an_eps_is_blamed_and_not_the_shortcut_of_the_same_shape(tmp_path):
    result = judged(tmp_path, ONE, OTHER.replace("<epsilon = 1e-5>", "<epsilon = 1e-3>"))
    assert (result.verdict, culprits(result)) == ("different", ["BatchNormalization:n2"])
    assert "eps differs" in result.culprits[0].explanation
    assert not any(result.unmatched.values())


def test_every_layer_of_a_right_port_has_its_partner_whatever_the_order(tmp_path):
    result = judged(tmp_path, ONE, OTHER)
    assert result.ok, str(result)
    assert not any(result.unmatched.values())
    assert len([layer for layer in result.layers if layer.leaf]) == 11
    partners = {layer.layer: layer.partner for layer in result.layers}
    assert partners["Conv:sh"] == "Conv:t0"
    assert all(layer.inputs_agree for layer in result.layers)  # the sum's too


def test_operands_of_a_subtraction_keep_their_order(tmp_path):
    result = judged(tmp_path, ONE.replace("Add", "Sub"), OTHER.replace("Add", "Sub"))
    assert (result.verdict, result.first_divergence.layer) == ("different", "Sub:ad")


def test_an_attribute_of_a_node_without_weights_is_named(tmp_path):
    pool = f"p = AveragePool <kernel_shape = [3, 3], {SAME}, count_include_pad = {{}}> (r2)\n q = GlobalAveragePool (p)"
    one = ONE.replace("p = GlobalAveragePool (r2)", pool.format(0)).replace("Flatten (p)", "Flatten (q)")
    result = judged(tmp_path, one, one.replace("count_include_pad = 0", "count_include_pad = 1"))
    assert culprits(result) == ["AveragePool:p"]
    assert "count_include_pad differs" in result.culprits[0].explanation


@pytest.mark.parametrize("word", ["coordinate_transformation_mode", "nearest_mode", "mode"])
def test_the_attribute_of_a_resize_is_named(word, tmp_path):
    settings = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "floor", "mode": "nearest"}
    others = {"coordinate_transformation_mode": "align_corners", "nearest_mode": "ceil", "mode": "linear"}

    def body(chosen):
        words = ", ".join(f'{name} = "{value}"' for name, value in chosen.items())
        resize = f"u = Resize <{words}> (r2, , sc)\n p = GlobalAveragePool (u)"
        return ONE.replace("p = GlobalAveragePool (r2)", resize)

    scale = {"sc": np.array([1, 1, 1.7, 1.3], np.float32)}
    ours = traced(body(settings), tmp_path / "one.onnx", scale)
    theirs = traced(body({**settings, word: others[word]}), tmp_path / "other.onnx", scale)
    result = judged(tmp_path, ours, theirs)
    assert culprits(result) == ["Resize:u"]
    assert f"{word} differs: reference={settings[word]}, candidate={others[word]}" in result.culprits[0].explanation


def test_a_resize_without_a_partner_is_listed_with_its_coordinates(tmp_path):
    scale = {"sc": np.array([1, 1, 2, 2], np.float32)}
    resize = 'u = Resize <mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"> (x, , sc)'
    one = traced(f"c1 = Conv <{SAME}> (x, a)\n y = Relu (c1)", tmp_path / "one.onnx")
    other = traced(f"{resize}\n c1 = Conv <{SAME}> (u, a)\n y = Relu (c1)", tmp_path / "other.onnx", scale)
    assert judge("resized", one, other).unmatched["candidate"][0] == "Resize:u (linear, pytorch_half_pixel)"


def test_a_folded_batch_norm_is_no_difference_of_kinds(tmp_path):
    scale = NORMS["g2"] / np.sqrt(NORMS["v2"] + 1e-5)
    held = {"w": WEIGHTS["b"] * scale.reshape(-1, 1, 1, 1), "w.b": NORMS["b2"] - NORMS["m2"] * scale}
    lines = [line for line in OTHER.splitlines() if "t5 = " not in line]
    body = "\n".join(lines).replace(
        "t4 = Conv <pads = [1, 1, 1, 1]> (t3, b)", "t5 = Conv <pads = [1, 1, 1, 1]> (t3, w, w__b)"
    )
    right = traced(body, tmp_path / "right.onnx", held)
    assert judged(tmp_path, ONE, right).ok
    wrong = traced(body, tmp_path / "wrong.onnx", {**held, "w.b": held["w.b"] + np.float32(0.1)})
    result = judged(tmp_path, ONE, wrong)
    assert culprits(result) == ["BatchNormalization:n2"]
    assert "kind" not in result.culprits[0].explanation
    assert "the BatchNorm2d is folded into it" in result.culprits[0].explanation


def test_files_of_other_weights_are_known_by_their_kernels(tmp_path):
    ours = traced(ONE, tmp_path / "one.onnx")
    assert not other_weights(ours, traced(OTHER, tmp_path / "other.onnx"))
    random = {name: normal(*array.shape) for name, array in WEIGHTS.items()}
    assert other_weights(ours, traced(OTHER, tmp_path / "random.onnx", random))
    half = {name: array.astype(np.float16).astype(np.float32) for name, array in WEIGHTS.items()}
    assert not other_weights(ours, traced(OTHER, tmp_path / "half.onnx", half))


def test_layers_that_share_a_weight_are_paired_in_their_order(tmp_path):
    body = f"c1 = Conv <{SAME}> (x, a)\n c2 = Conv <{SAME}> (c1, a)\n y = Conv <{SAME}> (c2, a)"
    ours, theirs = traced(body, tmp_path / "one.onnx"), traced(body, tmp_path / "other.onnx")
    pairs = [(a.layer, b.layer) for a, b in align(ours, theirs).pairs]
    assert all(a == b for a, b in pairs)
    assert len(pairs) == 4


def test_a_fingerprint_survives_scales_and_bytes_and_tells_others_apart():
    weight = GENERATOR.standard_normal((32, 8, 3, 3))
    mark = peaks(weight)
    scaled = weight * GENERATOR.uniform(-2, 2, (32, 1, 1, 1))
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    assert peaks(scaled) == mark
    assert likeness(mark, peaks(np.rint(weight / step) * step)) > 0.6
    assert likeness(mark, peaks(GENERATOR.standard_normal(weight.shape))) < 0.4
    assert likeness(mark, peaks(weight[:, :4])) == 0
    assert peaks(weight.swapaxes(0, 1), axis=1) == mark
    assert peaks(np.ones((4, 1, 1, 1))) == peaks(np.ones(4)) == ()


def test_pictures_with_their_channels_last_are_compared(tmp_path):
    first = f"y = Conv <{SAME}> (x, a)"
    last = (
        f"t = Transpose <perm = [0, 3, 1, 2]> (x)\n c = Conv <{SAME}> (t, a)\n y = Transpose <perm = [0, 2, 3, 1]> (c)"
    )
    save(shapeless(last, WEIGHTS, inputs="float[N, 6, 6, 3] x"), tmp_path / "last.onnx")
    file = onnx_backend.load(tmp_path / "last.onnx")
    assert onnx_backend.input_shape(file) == [None, 3, 6, 6]
    onnx_backend.record(file, [IMAGE], tmp_path / "last")
    result = judged(tmp_path, first, Trace(tmp_path / "last"))
    assert result.ok, str(result)
    wrong = onnx_backend.load(tmp_path / "last.onnx")
    wrong.model.graph.node[0].attribute[0].ints[:] = [0, 3, 2, 1]  # height for width
    onnx.save(wrong.model, tmp_path / "wrong.onnx")
    onnx_backend.record(onnx_backend.load(tmp_path / "wrong.onnx"), [IMAGE], tmp_path / "wrong")
    assert judged(tmp_path, first, Trace(tmp_path / "wrong")).verdict == "different"


def test_outputs_are_paired_by_name_where_both_have_them_and_whole_numbers_must_be_equal(tmp_path):
    body = "{a} = Relu (x)\n {b} = Neg (x)\n {c} = ArgMax <axis = 1> (x)"
    traces = []
    for name, order in (("one", "y z i"), ("other", "z y i")):
        model = shapeless(body.format(a="y", b="z", c="i"), {})
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=each) for each in order.split())
        save(model, tmp_path / f"{name}.onnx")
        onnx_backend.record(onnx_backend.load(tmp_path / f"{name}.onnx"), [IMAGE], tmp_path / name)
        traces.append(Trace(tmp_path / name))
    result = judge("outputs", *traces)
    assert result.ok, str(result)
    assert len(traces[0].calls[-1].outputs) == 3
