"""What holds for a whole comparison: the problems that make it invalid, and the notes."""

from __future__ import annotations

from collections.abc import Sequence, Set

from parity.judging.comparison import PASSES, Layer, names_of
from parity.judging.pairing import Alignment
from parity.judging.sequences import near
from parity.judging.statistics import trains
from parity.judging.units import other_weights
from parity.layers import differing_settings, known
from parity.tracing.trace import Call, Trace

_ROLES = "reference", "candidate"


def problems_of(reference: Trace, candidate: Trace, alignment: Alignment, unpaired: Sequence[Call]) -> list[str]:
    """Return the reasons why the whole comparison is invalid."""
    problems = []
    shared = alignment.by_order or any(reference_call.leaf for reference_call, _ in alignment.pairs)
    if not shared or not any(
        reference_call.layer == "" and reference_call.outputs for reference_call, _ in alignment.pairs
    ):
        problems.append("nothing was compared: the two share no layer, or the network gave no output")
    # One without weights may be a function call in the other network: the outputs show whether it matters.
    if paths := list(dict.fromkeys(call.layer or "(network)" for call in unpaired)):
        named = "" if alignment.other_names else " of the same name"
        problems.append(f"layers with weights have no partner{named}: {', '.join(paths[:6])}{_more(paths)}")
    if one_sided := _one_sided(alignment):
        problems.append(f"weights without a partner: {', '.join(one_sided[:6])}{_more(one_sided)}")
    if trains(reference) != trains(candidate):
        problems.append("one was run in training mode, the other in evaluation mode")
    if _differ("input_sha256", reference, candidate):
        problems.append("the two were given different inputs")
    return problems


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 6} more" if len(names) > 6 else ""


def _one_sided(alignment: Alignment) -> list[str]:
    """Return the tensors that a layer has, and its partner has not: a bias."""
    names = dict[str, None]()
    for a, b in alignment.pairs:
        if a.weights and b.weights and len(a.weights) != len(b.weights):
            for call, other, role in ((a, b, "reference"), (b, a, "candidate")):
                names |= dict.fromkeys(
                    f"{call.layer}.{word} ({role})" for word in call.weights.keys() - other.weights.keys()
                )
    return sorted(names)


def _differ(word: str, reference: Trace, candidate: Trace) -> bool:
    return str(reference.manifest.get(word)) != str(candidate.manifest.get(word))


def notes_of(reference: Trace, candidate: Trace, alignment: Alignment, layers: Sequence[Layer]) -> list[str]:
    """Return what holds for the whole comparison, and is no problem by itself."""
    notes = []
    # A file's weights have other names, or are folded: unless its exporter noted their source, hashes prove nothing.
    known_source = all(trace.manifest.get("weights_of", "network") == "network" for trace in (reference, candidate))
    # Files name weights as their exporter did, so equal ones may have different hashes.
    alike = alignment.by_order and not other_weights(reference, candidate)
    if known_source and not alike and not alignment.other_names and _differ("state_sha256", reference, candidate):
        notes.append("the two have different weights")
    if not known_source and any(layer.verdict not in PASSES for layer in layers):
        notes.append("a file does not say whose weights it holds: are they the weights of the other? See --weights")
    for role, trace in zip(_ROLES, (reference, candidate), strict=True):
        if changed := trace.manifest.get("changed_weights"):
            notes.append(f"the {role}'s forward changes its weights, which were put back: {', '.join(changed[:6])}")
    roles = zip(_ROLES, (reference, candidate), strict=True)
    if given := [role for role, trace in roles if trace.manifest.get("training_mode")]:
        notes.append(f"given in training mode, compared in evaluation mode: {' and '.join(given)}")
    tf32 = [str(trace.manifest.get("framework")) for trace in (reference, candidate) if trace.manifest.get("tf32")]
    if tf32:
        notes.append(f"TF32 was on: {' and '.join(tf32)}")
    for role, trace in zip(_ROLES, (reference, candidate), strict=True):
        if draws := trace.manifest.get("draws"):
            notes.append(
                f"the {role} draws random numbers by itself ({', '.join(map(str, draws))}: a drop path by hand?): only "
                "dropout has the same masks on both sides"
            )
    names = names_of(reference.manifest, candidate.manifest)
    return notes + ([] if trains(reference) else _training_notes(alignment, names))  # in training mode they count


def without_effect(traces: tuple[Trace, Trace], paired: Sequence[Set[tuple[str, int]]]) -> list[str]:
    """Return a note of the functions of one side alone that change nothing on this input, as a ReLU6 behind a ReLU.

    What they work on has a partner: a function within another form of one, as of a hard swish, is none of them.

    Args:
        traces: Of the reference and of the candidate.
        paired: Keys of the calls of each that have partners.
    """
    notes = list[str]()
    for role, trace, keys in zip(_ROLES, traces, paired, strict=True):
        makers = {name: call.kind for call in trace.calls if call.leaf and call.key in keys for name in call.outputs}
        names = [
            call.layer
            for call in trace.calls
            if call.leaf
            and call.key not in keys
            and len(call.inputs) == len(call.outputs) == 1
            and known(call.kind).pointwise
            and "Identity" not in (call.kind, known(call.kind).like)
            and makers.get(call.inputs[0], call.kind) != call.kind
            and near(trace.fingerprints[call.inputs[0]], trace.fingerprints[call.outputs[0]])
        ]
        if names := [*dict.fromkeys(names)]:
            listed = ", ".join(names[:6]) + _more(names)
            notes.append(f"{listed}, of the {role} alone, changes nothing on this input: another input may show it")
    return notes


def _training_notes(alignment: Alignment, names: tuple[str, str]) -> list[str]:
    """Return a note for each setting that differs and matters in training alone, with its layers."""
    layers: dict[str, list[str]] = {}
    for reference_call, candidate_call in alignment.pairs:
        if reference_call.leaf and candidate_call.leaf:
            _, training = differing_settings(
                (reference_call.kind, reference_call.config), (candidate_call.kind, candidate_call.config), 4
            )
            for difference in describe_settings(training, reference_call, candidate_call, names):
                layers.setdefault(difference, []).append(reference_call.layer)
    return [
        f"in training alone: {difference} ({', '.join(paths[:3])}"
        + (f" and {len(paths) - 3} more)" if len(paths) > 3 else ")")
        for difference, paths in layers.items()
    ]


def describe_settings(
    settings: Sequence[str], reference_call: Call, candidate_call: Call, names: tuple[str, str]
) -> list[str]:
    """Return a sentence for each setting with both values; "kind" stands for the kind."""
    sentences = []
    for word in settings:
        default = "upscale_in_train" if word == "mode" and reference_call.kind == "Dropout" else None
        values = [
            call.kind if word == "kind" else call.config.get(word, default) for call in (reference_call, candidate_call)
        ]
        sentences.append(f"{word} differs: {names[0]}={values[0]}, {names[1]}={values[1]}")
    return sentences
