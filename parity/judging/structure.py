"""Pair the layers of two networks by structure alone: what each holds, and who feeds whom.

Names say nothing between two people's networks, and before weights have moved values say nothing either. So layers with
weights are paired as nodes of the two graphs: by the shapes of their weights and by all that lies before and behind
them. Everything without weights is left out of the graphs, so it does not matter whether a ReLU is a layer or a
function, or in which order the branches are called.

A node's colour forward is a hash of what it holds and of the colours of the nodes that feed it; backward likewise.
(This is the refinement of Weisfeiler and Lehman, along the data flow.) Two nodes that alone have a colour are a pair. A
mistake changes the forward colours behind it and the backward colours before it: the others still match, first by both
colours, then by one. A pair has a colour of its own, so each pair that is found makes others unique. Where nothing is
unique any more, a looser label is tried.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from parity.errors import ParityError
from parity.functions import is_function
from parity.layers import is_weighted
from parity.numerics.arrays import without_ones
from parity.tracing.trace import Call
from parity.weights.names import owner_of

Key = tuple[str, int]
_Tag = tuple[int | str, ...]  # which part of a tensor: positions along a concatenation, numbers of a split
_Edge = tuple[int, _Tag]
_Graphs = tuple[list["_Node"], list["_Node"]]
_Groups = tuple[Mapping[Hashable, list[int]], Mapping[Hashable, list[int]]]  # of the reference, of the candidate


class Recorded(Protocol):
    """The calls of a run, and the shapes of their tensors: a Trace or a Sketch."""

    @property
    def calls(self) -> Sequence[Call]: ...  # noqa: D102
    def shape(self, name: str) -> tuple[int, ...]: ...  # noqa: D102


@dataclass
class _Node:
    """A call of a layer that owns weights.

    Attributes:
        key: Of the call.
        labels: What is known of it alone, the strictest first.
        before: The nodes that feed it; below 0 are the network's inputs.
        after: The nodes that it feeds; beyond the last one are the network's outputs.
    """

    key: Key
    labels: tuple[Hashable, ...]
    before: list[_Edge]
    after: list[_Edge] = field(default_factory=list)


def pair_layers(reference: Recorded, candidate: Recorded, known: Iterable[tuple[Key, Key]] = ()) -> dict[Key, Key]:
    """Return the candidate's call of each of the reference's calls of layers with weights.

    Args:
        reference: The run held to be right.
        candidate: The other one.
        known: Pairs that are known: by a map, or by their results.
    """
    found = _pair_nodes(_graph(reference), _graph(candidate), known)
    if len(found) < sum(bool(call.weights) for call in reference.calls):
        # Where one network normalises and the other does not, no context is the same but that of the sums.
        found = _pair_nodes(_graph(reference, norms=False), _graph(candidate, norms=False), found.items()) | found
        found = _pair_nodes(_graph(reference), _graph(candidate), found.items())
    return found


def _pair_nodes(reference: list[_Node], candidate: list[_Node], known: Iterable[tuple[Key, Key]]) -> dict[Key, Key]:
    graphs = reference, candidate
    places = [{node.key: i for i, node in enumerate(graph)} for graph in graphs]
    pairs = {places[0][a]: places[1][b] for a, b in known if a in places[0] and b in places[1]}
    strictness = 0
    while strictness < len(_LABELS):
        groups = _groups(graphs, pairs, strictness)
        found = _unique(groups) or _first_alike(groups) or _likeliest(graphs, pairs, strictness)
        pairs |= found
        strictness = 0 if found and strictness else strictness + (not found)
    return {graphs[0][i].key: graphs[1][j].key for i, j in pairs.items()}


def paired_owners(reference: Recorded, candidate: Recorded, layers: Mapping[str, str]) -> dict[str, str]:
    """Return the candidate's layer of each of the reference's layers with weights, by name; of weights without a layer.

    Args:
        reference: The run held to be right.
        candidate: The other one.
        layers: Those that are known.
    """
    known = [(call.key, (layers[call.layer], call.number)) for call in reference.calls if call.layer in layers]
    pairs = pair_layers(reference, candidate, [*known, *same_names(reference, candidate)])
    calls = [{call.key: call for call in each.calls} for each in (reference, candidate)]
    owners = dict[str, str]()
    for one, other in pairs.items():
        for owner, partner in _owning(calls[0][one], calls[1][other]):
            _ = owners.setdefault(owner, partner)
    return owners


def _owning(call: Call, partner: Call) -> list[tuple[str, str]]:
    """Return the names of two layers, or, where code gives its weights to a function, those of the weights."""
    if not (is_function(call.layer) or is_function(partner.layer)):
        return [(call.layer, partner.layer)]
    ours, theirs = _whole_names(call), _whole_names(partner)
    found = dict[str, str]()
    for by_role in (True, False):
        for name, shape in ours.items():
            alike = [
                other
                for other, its in theirs.items()
                if its == shape and other not in found.values() and (not by_role or _role(other) == _role(name))
            ]
            if name not in found and alike:
                found[name] = alike[0]
    return [*found.items()]


def _whole_names(call: Call) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a call's weights, without ones."""
    path = "" if is_function(call.layer) or not call.layer else f"{call.layer}."
    return {f"{path}{role}": without_ones(shape) for role, shape in call.weights.items()}


def _role(name: str) -> str:
    return owner_of(name)[1]


def check_map(layers: Mapping[str, str], reference: Iterable[Call], candidate: Iterable[Call]) -> None:
    """Return if every name of a map is that of a layer.

    Raises:
        ParityError: Naming those that are not, with near ones.
    """
    for role, names, calls in (("reference", layers.keys(), reference), ("candidate", layers.values(), candidate)):
        paths = {call.layer for call in calls}
        for name in names:
            if name not in paths:
                close = difflib.get_close_matches(name, paths, 1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise ParityError(f"map: {name}: the {role} calls no such layer{hint}")


def same_names(reference: Recorded, candidate: Recorded) -> list[tuple[Key, Key]]:
    """Return the pairs of calls of the same name whose layers hold the same, if that is most of them: none else."""
    held = [{call.key: _held(call) for call in each.calls if call.weights} for each in (reference, candidate)]
    shared = [key for key, shapes in held[0].items() if held[1].get(key) == shapes]
    most = 2 * len(shared) > min(map(len, held))
    return [(key, key) for key in shared] if most else []


def _unique(groups: Iterable[_Groups]) -> dict[int, int]:
    """Return the pairs of nodes that alone have a colour: by both directions, else by one."""
    for ours, theirs in groups:
        alone = [colour for colour, nodes in ours.items() if len(nodes) == 1 == len(theirs.get(colour, ()))]
        if alone:
            return {ours[colour][0]: theirs[colour][0] for colour in alone}
    return {}


def _first_alike(groups: Iterable[_Groups]) -> dict[int, int]:
    """Return the first pair of a group of nodes that nothing tells apart, in the order of the calls."""
    for ours, theirs in groups:
        for colour, nodes in ours.items():
            if len(nodes) == len(theirs.get(colour, ())):
                return {nodes[0]: theirs[colour][0]}
    return {}


def _likeliest(graphs: _Graphs, pairs: Mapping[int, int], strictness: int) -> dict[int, int]:
    """Return the pair of nodes of one label that shares the most neighbours, or, where none does, the first pair.

    A mistake in the forward's own code gives a layer other neighbours, so that it has no colour of the other network.
    """
    if strictness < _TAGGED:  # which part of a tensor is read counts for less than what is read
        return {}
    near = [_neighbours(graph, pairs, side) for side, graph in enumerate(graphs)]
    readers = defaultdict[Hashable, list[int]](list)
    for j, features in near[1].items():
        for feature in features:
            readers[graphs[1][j].labels[strictness], feature].append(j)
    shared = Counter[tuple[int, int]]()
    for i, features in near[0].items():
        for feature in features:
            shared.update((i, j) for j in readers[graphs[0][i].labels[strictness], feature])
    sizes = [[len(node.before) + len(node.after) for node in graph] for graph in graphs]
    likeness = lambda pair: shared[pair] / (sizes[0][pair[0]] + sizes[1][pair[1]])
    if shared:
        return dict([max(sorted(shared), key=likeness)])
    alike = defaultdict[Hashable, list[int]](list), defaultdict[Hashable, list[int]](list)
    for graph, unpaired, by_label in zip(graphs, near, alike, strict=True):
        for i in unpaired:
            by_label[graph[i].labels[strictness]].append(i)
    return _first_alike([alike])


def _neighbours(graph: list[_Node], pairs: Mapping[int, int], side: int) -> dict[int, set[Hashable]]:
    """Return the neighbours that are paired, or are the network's inputs and outputs, of each node that is not."""
    names = {(i, j)[side]: i for i, j in pairs.items()}
    return {
        i: {
            (where, names[other] if other in names else tag if other >= len(graph) else other)
            for where, edges in (("before", node.before), ("after", node.after))
            for other, tag in edges
            if other in names or not 0 <= other < len(graph)
        }
        for i, node in enumerate(graph)
        if i not in names
    }


def _groups(graphs: _Graphs, pairs: Mapping[int, int], strictness: int) -> list[_Groups]:
    """Return the nodes without a partner by their colour: both directions together, then forward, then backward."""
    colours = [_colours(graph, pairs, side, strictness) for side, graph in enumerate(graphs)]
    taken = set(pairs), set(pairs.values())
    groups = list[_Groups]()
    for which in (lambda c: c, lambda c: c[0], lambda c: c[1]):
        by_colour = defaultdict[Hashable, list[int]](list), defaultdict[Hashable, list[int]](list)
        for side in (0, 1):
            for i, colour in enumerate(colours[side]):
                if i not in taken[side]:
                    by_colour[side][which(colour)].append(i)
        groups.append(by_colour)
    return groups


def _colours(graph: list[_Node], pairs: Mapping[int, int], side: int, strictness: int) -> list[tuple[int, int]]:
    """Return each node's colours forward and backward; a pair has the same on both sides."""
    of_pair = {(i, j)[side]: hash(("pair", i)) for i, j in pairs.items()}
    tagged = strictness < _TAGGED
    forward, backward = dict[int, int](), dict[int, int]()
    for i, node in enumerate(graph):
        forward[i] = of_pair.get(i) or _hash(node.labels[strictness], node.before, forward, tagged)
    for i in range(len(graph) - 1, -1, -1):
        backward[i] = of_pair.get(i) or _hash(graph[i].labels[strictness], graph[i].after, backward, tagged)
    return [(forward[i], backward[i]) for i in range(len(graph))]


def _hash(label: Hashable, edges: Sequence[_Edge], colours: Mapping[int, int], tagged: bool) -> int:
    return hash(
        (label, *sorted((colours.get(i, hash(("end", min(i, 0)))), repr(tag) if tagged else "") for i, tag in edges))
    )


def _graph(recorded: Recorded, norms: bool = True) -> list[_Node]:
    nodes = list[_Node]()
    root = recorded.calls[-1] if recorded.calls else None
    origins = dict[str, set[_Edge]]()
    for i, name in enumerate(root.inputs if root else ()):
        origins[name] = {(-1 - i, (0,))}
    last = set[_Edge]()  # what an operation that is not recorded, a copy, most likely works on
    for call in recorded.calls:
        read = [origins.get(name, last) for name in call.inputs]
        if call.weights and (norms or is_weighted(call.config)):
            edges = sorted({edge for each in read for edge in each}, key=repr)
            made: list[set[_Edge]] = [{(len(nodes), (i,) if i else (0,))} for i in range(len(call.outputs))]
            nodes.append(_Node(call.key, _labels(recorded, call), edges))
        elif call.leaf:
            made = _passed(recorded, call, read)
        else:
            continue
        origins |= zip(call.outputs, made, strict=True)
        last = made[0] if made else last
    outputs = [origins.get(name, last) for name in (root.outputs if root else ())]
    labels = root.labels if root is not None and root.labels else range(len(outputs))
    for i, node in enumerate(nodes):
        for source, tag in node.before:
            if source >= 0:
                nodes[source].after.append((i, tag))
    for label, edges in zip(labels, outputs, strict=True):
        for source, tag in sorted(edges, key=repr):
            if source >= 0:
                nodes[source].after.append((len(nodes), (*tag, f"output {label}")))
    return nodes


def _passed(recorded: Recorded, call: Call, read: Sequence[set[_Edge]]) -> list[set[_Edge]]:
    """Return where each output of a call without weights comes from."""
    if call.kind == "Concat" and isinstance(dim := call.config.get("dim"), int):
        offset, joined = 0, set[_Edge]()
        for name, edges in zip(call.inputs, read, strict=True):
            joined |= {(source, (*tag[:-1], _plus(tag[-1], offset))) for source, tag in edges}
            shape = recorded.shape(name)
            offset += shape[dim] if -len(shape) <= dim < len(shape) else 0
        return [joined]
    together = set[_Edge]().union(*read)
    if len(call.outputs) == 1:
        return [together]
    return [{(source, (*tag, f"part {i}", 0)) for source, tag in together} for i in range(len(call.outputs))]


def _plus(position: int | str, offset: int) -> int | str:
    return position + offset if isinstance(position, int) else position


def _labels(recorded: Recorded, call: Call) -> tuple[Hashable, ...]:
    """Return what is known of a layer alone, as strict as in _LABELS."""
    held = _held(call)
    largest = max(held, key=lambda shape: (len(shape), shape))
    output = without_ones(recorded.shape(call.outputs[0])[1:]) if call.outputs else ()
    group = _group(call)
    dilation = (
        call.config.get("dilation") if math.prod(largest[2:]) > 1 else None
    )  # all that tells ASPP's branches apart
    labels = {"dilation": (group, held, output, repr(dilation)), "output": (group, held, output), "held": (group, held)}
    labels |= {"largest": (group, largest), "channels": (group, largest[:1]), "group": group}
    return tuple(labels[word] for word in _LABELS)


def _held(call: Call) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(without_ones(shape) for shape in call.weights.values()))


# The first two of them with the tags of edges, the others without.
_LABELS = ("dilation", "output", "output", "held", "largest", "channels", "group")
_TAGGED = 2


def _group(call: Call) -> str:
    """Return one name for kinds whose weights may take each other's place: Linear and convolutions, all BatchNorms."""
    if "Transpose" in call.kind:
        return "ConvTranspose"
    if is_weighted(call.config):
        return "weighted"
    if call.kind.endswith("BatchNorm") or call.kind.startswith("BatchNorm"):
        return "BatchNorm"
    return call.kind if "Norm" in call.kind or call.kind == "PReLU" else "own"
