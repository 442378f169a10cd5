"""The part of docs/differences.md on exporters and runtimes."""

from facts.export_operators import DEFAULT_OPSET, EACH, OPERATORS, STRATA


def render(results):
    """Return the tables of the exporters and runtimes, as Markdown."""
    text = [_POOLS]
    opsets = {}
    for row in results["pools"]:
        counts = [f"{row[each]}/{row['cells']}" + _rest(row[f"{each} else"]) for each in _RUNTIMES]
        key = _EXPORTERS[row["exporter"]], row["pools"], row["stratum"], *counts
        opsets.setdefault(key, []).append(str(row["written"]))
    for (exporter, *words), written in opsets.items():
        text.append(f"| {' | '.join([exporter, ', '.join(written), *words])} |\n")
    text.append(_OPERATORS)
    for name, backends in results["operators"].items():
        said = [_operator(backends.get(backend)) for backend in ("torch", "paddle")]
        text.append(f"| `{name}` | {' | '.join(said)} |\n")
    text.append(_WRONG)
    for backend in ("paddle", "torch"):
        for name, backends in results["operators"].items():
            if backend in backends and (how := fault(backends[backend])):
                row = OPERATORS[name]
                shapes = ", then ".join(" x ".join(map(str, shape)) for shape in row[2:])
                text.append(f"| {_EXPORTERS[backend]} | {name} | `{row[backend == 'paddle']}` | {shapes} | {how} |\n")
    return "".join(text)


_EXPORTERS = {"torch": "torch, dynamo", "paddle": "Paddle, paddle2onnx"}
_RUNTIMES = {"onnxruntime": "ONNX Runtime", "reference": "onnx.reference"}


def _rest(words):
    return f" ({words})" if words else ""


def _operator(result):
    if result is None:
        return "no such layer or argument"
    if "onnxruntime" not in result:
        return f"the export {_ends(result['export'])}"
    outcomes = {runtime: result[runtime] for runtime in _RUNTIMES}
    text = "; ".join(f"{_RUNTIMES[runtime]}: {said}" for runtime, said in outcomes.items())
    if set(outcomes.values()) == {"equal"}:
        text = "right in both"
    return text if result["export"] == "written" else f"{text}, {result['export']}"


def fault(result):
    """Return what is wrong with an export, "" if ONNX Runtime reproduces its framework, at the opset asked for."""
    if "onnxruntime" not in result:
        return f"loud: the export {_ends(result['export'])}"
    said = result["onnxruntime"]
    if said == "equal":
        return "" if result["export"] == "written" else f"**silent**: {result['export']}"
    return f"loud: ONNX Runtime {said}" if said.startswith("raises") else f"**silent**: {said}"


def _ends(words):
    return words if words.startswith("raises") else f"ends the process: {words}"


_POOLS = f"""## ONNX: pooling

{len(STRATA) * EACH} pools, {EACH} of each stratum, through both exporters (torch `onnx.export(dynamo=True)`;
`paddle.jit.save`, then `paddle2onnx.export`), each at three opsets. The table counts in how many cases ONNX Runtime and
onnx's reference evaluator reproduce the framework that the file came from. *plain*: no window reaches past the padding.
*overhang*: under `ceil_mode` one does. *drop*: that window starts in the padding; Paddle keeps it, torch does not.
`pytest -m zoo tests/facts/test_exports.py` measures all of this again.

| exporter | opset | pooling | stratum | ONNX Runtime | onnx.reference |
|---|---|---|---|---|---|
"""
_OPERATORS = f"""
## ONNX: operators

Opset {DEFAULT_OPSET["torch"]} from torch, its lowest, {DEFAULT_OPSET["paddle"]} from Paddle. *right in both*:
ONNX Runtime and onnx.reference reproduce the framework.

| operator | torch, dynamo | Paddle, paddle2onnx |
|---|---|---|
"""
_WRONG = """
## ONNX: what an exporter writes wrongly

<a id="onnx-wrong"></a>The smallest model that shows the fault, the shape of its input, and ONNX Runtime's result
compared with the framework's own. T and P are `torch.nn` and `paddle.nn`, TF and PF their `functional`, F a network of
one function. LogSoftmax and NaN: the file is right, and Paddle computes something else.

| exporter | operator | model | input | what happens |
|---|---|---|---|---|
"""
