"""Small ONNX graphs in ONNX's own text, and what becomes of them in canonical form."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from parity.onnx_files import canonical

GENERATOR = np.random.default_rng(0)
INPUTS, OUTPUTS = "float[N, 3, 6, 6] x", "float[N, 5] y"


def numbers(*shape):
    return GENERATOR.uniform(0.5, 1.5, shape).astype(np.float32)


def model(body, tensors, inputs=INPUTS, outputs=OUTPUTS, opset=18):
    """Return a model of ONNX's own text and the tensors it names, dots as double underscores."""
    header = f'<ir_version: 8, opset_import: ["": {opset}]>'
    made = onnx.parser.parse_model(f"{header} g ({inputs}) => ({outputs}) {{ {body} }}")
    for name, array in tensors.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name.replace(".", "__")))
    return made


def canonical_form(made, names=None, layers=None):
    return ir.to_proto(canonical.named(canonical.simplify(ir.from_proto(made)), names or {}, layers or {}))


def shapeless(body, tensors, **options):
    """Return a model whose output `y` may have any shape."""
    made = model(body, tensors, outputs="float y", **options)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return made


def operators(made):
    return [node.op_type for node in made.graph.node]


def outputs(made, image):
    name = made.graph.input[0].name
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {name: image})[0]


def becomes(spelling, other, tensors, expected, shape=(2, 3, 6, 6), **options):
    """Assert that two spellings have one canonical form, of the expected operators, that computes what each did."""
    made = [shapeless(body, tensors, **options) for body in (spelling, other)]
    forms = [canonical_form(each) for each in made]
    assert operators(forms[0]) == operators(forms[1]) == expected
    assert forms[0].SerializeToString(deterministic=True) == forms[1].SerializeToString(deterministic=True)
    image = numbers(*shape) - 1
    for each, form in zip(made, forms, strict=True):
        np.testing.assert_allclose(outputs(form, image), outputs(each, image), rtol=1e-5, atol=1e-6)


def stays(body, tensors, **options):
    """Assert that the canonical form has the operators that the graph has."""
    found = operators(canonical_form(shapeless(body, tensors, **options)))
    assert sorted(found) == sorted(line.split("= ", 1)[1].split(" ")[0] for line in body.strip().splitlines())
