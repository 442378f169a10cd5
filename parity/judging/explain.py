"""Find the culprits: the layers whose own function differs, and why, in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from parity.functions import caller_of, is_function
from parity.judging.backward import BackwardExperiments, Shown
from parity.judging.bounds import allowance, growth
from parity.judging.comparison import PASSES, SAME_OUTPUT, Comparison, Culprit, Layer, is_within, layers_within
from parity.judging.experiments import Experiments
from parity.judging.mistakes import moves_otherwise
from parity.judging.notes import describe_settings
from parity.judging.statistics import AFTER, amplification, amplified, trains
from parity.judging.trials import OnTry
from parity.judging.updates import shown_update
from parity.judging.weight_mistakes import recognised
from parity.layers import KINDS, differing_settings, is_weighted, known
from parity.numerics.arrays import Array, same_bits, same_but_ones
from parity.numerics.distance import Distance
from parity.tracing.replay import Replay
from parity.tracing.trace import Call, Trace

_FORWARD = "the forward code of"
States = tuple[Mapping[str, Array], Mapping[str, Array]]


@dataclass(frozen=True)
class _Differences:
    """What differs between two paired calls.

    Attributes:
        sentences: In words.
        settings: The candidate's settings that differ, "kind" among them.
        weights: The candidate's tensors that differ, by role; None for one that it lacks.
        known: Whether each is of a kind that an experiment can repeat.
    """

    sentences: list[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Array | None] = field(default_factory=dict)
    known: bool = True


def with_culprits(
    comparison: Comparison,
    reference: Trace,
    candidate: Trace,
    replayed: Replay,
    states: States | None,
    on_try: OnTry | None = None,
) -> Comparison:
    """Return the comparison with its culprits.

    Args:
        comparison: One that is not ok.
        reference: The Traces it judged.
        candidate: Likewise.
        replayed: What each layer of the candidate computes from the reference's inputs; empty if it could not be run.
        states: Weights of the reference and of the candidate, if available.
        on_try: Called with what an experiment tries, how many were done, and how many there may be.
    """
    experiments = Experiments(comparison, reference, candidate, states and states[0], on_try)
    candidate_calls = {call.key: call for call in candidate.calls}
    partners = {
        (layer.layer, layer.call): candidate_calls.get((layer.partner, layer.partner_call))
        for layer in reversed(comparison.layers)  # the layer rather than the function that it calls
    }
    judged = {(layer.layer, layer.call): layer for layer in reversed(comparison.layers)}
    differing = _differing(reference, replayed, partners, judged, experiments)
    reasons: dict[str, str] = {}
    for call in differing:
        if not call.leaf and any(is_within(other.layer, call.layer) for other in differing):
            continue  # a layer within it is the culprit
        found = _differences(call, partners.get(call.key), reference, comparison.names, states)
        differences = list(found.sentences)
        if isinstance(result := replayed.get(call.key), str):
            differences.append(f"it cannot take the reference's input: {result}")
        if not differences and not call.leaf:
            differences = [_forward(call.layer, call.kind, comparison, replayed)]
        if call.layer not in reasons:
            words = "; ".join(differences) or _unknown(call, result, judged)
            update = ""
            if not found.settings.keys() & {"training", "use_global_stats"}:  # which explain the statistics too
                update = _update(call, partners.get(call.key), reference, candidate, comparison.names)
            reasons[call.layer] = words + _proof(call, partners.get(call.key), found, experiments) + update
    for layer in comparison.layers:  # what a float64 replay does not show
        if layer.verdict == "different" and layer.reason.endswith(SAME_OUTPUT):
            _ = reasons.setdefault(layer.layer, layer.reason)
    told = lambda call: _differences(call, partners.get(call.key), reference, comparison.names, states)
    _add_updates(reasons, comparison, (reference, candidate), partners, told)
    for layer in comparison.layers:
        if layer.verdict == "precision" or (layer.verdict == "invalid" and not reasons):
            _ = reasons.setdefault(layer.layer, layer.reason)
            break
    divergence = comparison.first_divergence
    if divergence is not None and divergence.where != "backward" and not reasons:
        call = next(call for call in reference.calls if call.key == (divergence.layer, divergence.call))
        found = _differences(call, partners.get(call.key), reference, comparison.names, states)
        words = _of_divergence(call, divergence.where, found, comparison, replayed)
        reasons[call.layer] = words + _proof(call, partners.get(call.key), found, experiments)
    _add_glue(reasons, experiments)
    names = comparison.partners
    aside = lambda layer: f"({names[layer]} in the candidate) " if names.get(layer, layer) != layer else ""
    culprits = tuple(Culprit(layer, aside(layer) + reason) for layer, reason in reasons.items())
    gradients = _backward(comparison, (reference, candidate), experiments, states)
    divergence = comparison.first_divergence
    if divergence is not None and divergence.where == "backward" and gradients:
        known = {call.layer for call in reference.calls} & {culprit.layer for culprit in gradients}
        divergence = divergence if divergence.layer in known else replace(divergence, layer=gradients[0].layer, call=0)
    return dataclasses.replace(comparison, culprits=(*culprits, *gradients), first_divergence=divergence)


def _differing(
    reference: Trace,
    replayed: Replay,
    partners: Mapping[tuple[str, int], Call | None],
    judged: Mapping[tuple[str, int], Layer],
    experiments: Experiments,
) -> list[Call]:
    """Return the calls whose own function differs from their partner's; none where the candidate could not be run."""
    found = list[Call]()
    for call in reference.calls if replayed else ():
        partner = partners.get(call.key)
        differs = (
            (trains(reference) and _is_switched(call, partner))
            or _differs(call, reference, replayed, judged)
            or (call.key not in replayed and experiments.differs(call, partner))
        )
        moved = partner is not None and moves_otherwise(call, partner)  # `glue` tells what several do together
        if differs and not moved and not experiments.is_another_form(call, partner):
            found.append(call)
    return found


def _backward(
    comparison: Comparison, traces: tuple[Trace, Trace], experiments: Experiments, states: States | None
) -> tuple[Culprit, ...]:
    """Return the culprits of the backward pass, each with its proof where there is one."""
    if comparison.gradients is None:
        return ()
    agree = all(layer.verdict in PASSES for layer in comparison.layers)
    tests = BackwardExperiments(traces, experiments.pairs, states and states[0], experiments.trials.work, agree)
    layers, culprits = {call.layer for call in traces[0].calls}, list[Culprit]()
    for culprit in comparison.gradients.culprits:
        shown = tests.of_layer(culprit.layer) if "(proved" not in culprit.explanation else None
        if shown is not None:
            layer = culprit.layer if culprit.layer in layers else shown.layers[0]
            culprit = Culprit(layer, culprit.explanation + _of_backward(shown, layer, experiments))
        culprits.append(culprit)
    for shown in tests.others() if culprits else ():
        if not {culprit.layer for culprit in culprits} & {*shown.layers}:
            words = "its backward differs" + _of_backward(shown, shown.layers[0], experiments)
            culprits.append(Culprit(shown.layers[0], words))
    right = [culprit for culprit in culprits if "(proved" not in culprit.explanation and tests.is_right(culprit.layer)]
    return tuple(culprit for culprit in culprits if culprit not in right or len(right) == len(culprits))


def _of_backward(shown: Shown, layer: str, experiments: Experiments) -> str:
    """Return the proof of a layer's backward, in words that follow others."""
    where, outcome = ", ".join(shown.layers), experiments.trials.outcome(Distance(shown.gap))
    if shown.is_cut:
        return f" (proved: with the gradient through {where} taken as zero {outcome})"
    subject = "it" if shown.layers == (layer,) else f"{where}:"
    return f"; {subject} {shown.words} (proved: so {outcome})"


def _of_divergence(call: Call, where: str, found: _Differences, comparison: Comparison, replayed: Replay) -> str:
    """Return the reason at the first divergence, where no layer is a culprit by itself."""
    differences = list(found.sentences)
    if where == "between":
        caller, kind = (caller_of(call.layer), "") if call.leaf else (call.layer, call.kind)
        differences.append(_forward(caller, kind, comparison, replayed))
    return "; ".join(differences or ["its output differs", *comparison.notes])


def _proof(call: Call, partner: Call | None, found: _Differences, experiments: Experiments) -> str:
    """Return what an experiment adds to a reason: the proof of what is known, or a mistake that was guessed."""
    if partner is None or not (call.leaf and partner.leaf and found.known):
        return ""
    settings = {word: found.settings[word] for word in found.settings if word != "momentum"}  # no output shows it
    return experiments.shown(call, partner, settings, found.weights)


def _update(call: Call, partner: Call | None, reference: Trace, candidate: Trace, names: tuple[str, str]) -> str:
    """Return what an experiment shows of the statistics that a call updates."""
    if partner is not None and is_function(partner.layer):  # the statistics are those of the layer around it
        partner = next((each for each in candidate.calls if each.layer == caller_of(partner.layer)), None)
    if partner is None or not (call.statistics and partner.statistics):
        return ""
    return shown_update((reference, call), (candidate, partner), names)


def _add_updates(
    reasons: dict[str, str],
    comparison: Comparison,
    traces: tuple[Trace, Trace],
    partners: Mapping[tuple[str, int], Call | None],
    differences: Callable[[Call], _Differences],
) -> None:
    """Add to the reasons the layers whose statistics differ after the step, and not their output."""
    judged = {(layer.layer, layer.call): layer for layer in reversed(comparison.layers)}
    for call in traces[0].calls:
        partner, layer = partners.get(call.key), judged.get(call.key)
        if layer is None or partner is None or not call.statistics or layer.verdict != "different":
            continue
        update = "" if layer.layer in reasons else _update(call, partner, *traces, comparison.names)
        if update or (AFTER in layer.reason and layer.inputs_agree):
            found = differences(call)
            reason = layer.reason if AFTER in layer.reason else "its statistics differ after this step"
            _ = reasons.setdefault(layer.layer, ("; ".join(found.sentences) or reason) + update)


def _add_glue(reasons: dict[str, str], experiments: Experiments) -> None:
    """Add to the reasons what is wrong between calls; a new one only where it is proved."""
    glues, generic = experiments.glue(), dict(reasons)
    added, inner, around = dict[str, list[str]](), dict[str, list[str]](), set[str]()
    for glue in [glue for glue in glues if not glue.missing]:
        within = [name for name in reasons if name == glue.owner or is_within(glue.owner, name)]
        if glue.before in reasons:
            within = [glue.before]
        if within:
            name = max(within, key=len)
            if glue.proved and is_within(glue.owner, name) and reasons[name].startswith(_FORWARD):
                inner.setdefault(glue.owner, []).append(glue.words)  # it is the code of a layer within
                around.add(name)
                continue
            place = "" if name in (glue.owner, glue.before) else f"{glue.owner}: "
            added.setdefault(name, []).append(f"{place}{glue.words}")
        elif glue.proved:
            reasons[glue.owner] = glue.words
    for name, words in added.items():
        first, _, rest = reasons[name].partition("; ")  # the calls that only one of the two makes are told last
        told = [first, *words, rest] if first.startswith(_FORWARD) else [reasons[name], *words]
        reasons[name] = "; ".join(filter(None, told))
    for name in around - added.keys():
        del reasons[name]
    reasons |= {name: "; ".join(words) for name, words in inner.items()}
    for glue in (glue for glue in glues if glue.missing):
        for name in [name for name in reasons if name == glue.owner or is_within(glue.owner, name)]:
            if reasons[name] == generic.get(name) and reasons[name].startswith(_FORWARD):
                del reasons[name]  # of its code no more than this is known
        reasons[glue.missing] = glue.words


def _differs(call: Call, reference: Trace, replayed: Replay, judged: Mapping[tuple[str, int], Layer]) -> bool:
    """Return whether a layer's own function differs: by its replay, or, if it has none, where its inputs agree."""
    result = replayed.get(call.key)
    if result is None:
        layer = judged.get(call.key)
        if layer is None or not layer.leaf or layer.reason.endswith(SAME_OUTPUT):
            return False
        return layer.inputs_agree and layer.verdict in ("different", "invalid")
    if isinstance(result, str):
        return True
    grown = growth([call] if call.leaf else reference.calls)[-1]
    grown *= amplified(reference, call).own if call.leaf else max(amplification(reference)[0].values())
    elements = math.prod(reference.shape(call.outputs[0])) if call.outputs else 1
    return not result.relative <= allowance(grown, result.peak, elements)


def _is_switched(call: Call, partner: Call | None) -> bool:
    """Return whether one of two layers that compute otherwise in training is in evaluation mode: by the code around."""
    if partner is None or not all(each.leaf and known(each.kind).training for each in (call, partner)):
        return False
    return bool(call.config.get("training")) != bool(partner.config.get("training"))


def _unknown(call: Call, result: Distance | str | None, judged: Mapping[tuple[str, int], Layer]) -> str:
    if not isinstance(result, Distance):
        return judged[call.key].reason
    if math.isnan(result.relative):
        return "NaN on both sides: look for it in the input and the weights"
    gap = f"distance {result.relative:.3g} on the reference's own input"
    return f"{call.kind} of the same configuration and weights, yet another function ({gap})"


def _forward(layer: str, kind: str, comparison: Comparison, replayed: Replay) -> str:
    """Return the reason for a layer that differs while no layer within it does: it calls them in another way."""
    unmatched = [
        f"{name} is only in the {role}"
        for role, names in comparison.unmatched.items()
        for name in names
        if is_within(name, layer)
    ]
    compared = any(
        inner.inputs_agree or (inner.layer, inner.call) in replayed for inner in layers_within(comparison, layer)
    )
    calls = "what it calls is right" if compared else "nothing it calls was compared"
    name = f"{layer or 'the network'}{f' ({kind})' if kind else ''}"
    return "; ".join([f"{_FORWARD} {name} differs, {calls}", *unmatched[:4]])


def _differences(
    call: Call, partner: Call | None, reference: Trace, names: tuple[str, str], states: States | None
) -> _Differences:
    """Return the differences of two paired calls in kind, configuration and weights."""
    if partner is None:
        return _Differences(["it has no partner of that name in the candidate"], known=False)
    sentences = [f"{call.config['node']} in the reference"] if "node" in call.config else []
    sentences += [f"{partner.config['node']} in the file"] if "node" in partner.config else []
    rank = len(reference.shape(call.inputs[0])) if call.inputs else 4
    settings = _settings(call, partner, rank) if call.leaf else []
    if "node" in call.config or "node" in partner.config:  # exporters write layers as other operators, and join them
        settings = [word for word in settings if word != "kind"]
    folded = [each.kind for each, other in ((call, partner), (partner, call)) if _is_folded(each, other)]
    sentences += [f"the {kind} is folded into it" for kind in folded]
    sentences += describe_settings(settings, call, partner, names)
    attributes = _attributes(call.config.get("attributes", {}), partner.config.get("attributes", {}), names)
    sentences += attributes
    changes = {word: partner.kind if word == "kind" else partner.config.get(word) for word in settings}
    if "mode" in changes and call.kind == "Dropout":
        changes["p"] = partner.config.get("p")
    reference_trains, candidate_trains = (each.config.get("training", False) for each in (call, partner))
    if reference_trains != candidate_trains and trains(reference):
        name = names[0] if candidate_trains else names[1]
        sentences.append(f"in evaluation mode in {name}, in training mode in the other")
        changes["training"] = candidate_trains
    elif reference_trains != candidate_trains:
        name = names[1] if candidate_trains else names[0]
        sentences.append(f"in training mode in {name}: call .eval() on the network")
        changes["training"] = candidate_trains
    known = not folded and not attributes
    if states is None or not call.leaf:
        return _Differences(sentences, changes, known=known)
    weights = _weights(call, partner, *states)
    return replace(weights, sentences=sentences + weights.sentences, settings=changes, known=known and weights.known)


def _attributes(expected: Mapping[str, Any], actual: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    """Return the attributes that differ of two files' nodes."""
    return [
        f"{word} differs: {names[0]}={expected[word]}, {names[1]}={actual[word]}"
        for word in expected
        if word in actual and expected[word] != actual[word]
    ]


def _is_folded(call: Call, partner: Call) -> bool:
    return call.kind.startswith("BatchNorm") and "node" in partner.config and is_weighted(partner.config)


def _settings(call: Call, partner: Call, rank: int) -> list[str]:
    """Return the settings that make two layers different functions."""
    differ, in_training = differing_settings((call.kind, call.config), (partner.kind, partner.config), rank)
    training = call.config.get("training") or partner.config.get("training")
    other = call.kind != partner.kind
    unknown = ["kind"] if other and not {call.kind, partner.kind} <= KINDS.keys() else []
    # What a kind implies, as ReflectionPad2d its mode, is no setting of either.
    implied = [word for word in differ if other and word not in call.config and word not in partner.config]
    differ = ["kind" if word in implied else word for word in differ]
    return [*unknown, *dict.fromkeys(differ), *(in_training if training else [])]


def _weights(call: Call, partner: Call, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> _Differences:
    """Return the differences of two paired layers' weights."""
    given = bool(call.weights or partner.weights)
    ours, theirs = _named(call, reference, given), _named(partner, candidate, given)
    if ours.keys() != theirs.keys() and len(ours) == len(theirs) and any(map(is_function, (call.layer, partner.layer))):
        theirs = dict(zip(ours, theirs.values(), strict=True))  # a block's gamma_1 is a layer's gamma
    sentences, tensors, known = list[str](), dict[str, Array | None](), True
    for role, name in ours.items():
        if role not in theirs:
            if theirs and call.kind == partner.kind:
                sentences.append(f"{role} is absent in the candidate")
                tensors[role] = None
        elif not same_bits(reference[name], actual := _in_shape(candidate[theirs[role]], reference[name])):
            sentences.append(f"{role} {recognised(name, reference, actual)}")
            tensors[role] = actual
            known = known and actual.shape == reference[name].shape
    return _Differences(sentences, weights=tensors, known=known)


def _named(call: Call, state: Mapping[str, Array], given: bool) -> dict[str, str]:
    """Return the names of a call's weights, by role; of a function's, if its partner was `given` some, its layer's."""
    function = is_function(call.layer)
    layer = caller_of(call.layer) if function and given and not call.weights else call.layer
    owned = call.weights if function else ()
    names = [name for name in state if name in owned or name.rpartition(".")[0] == layer]
    return {name.rpartition(".")[2]: name for name in names}


def _in_shape(actual: Array, expected: Array) -> Array:
    """Return a tensor in another's shape if only ones differ: a 1x1 convolution's weight for a linear layer's."""
    return actual.reshape(expected.shape) if same_but_ones(actual.shape, expected.shape) else actual
