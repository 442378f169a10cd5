"""Find the weights in a checkpoint, among numbers, text, an optimizer's state and other networks' weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.printable import printable
from parity.weights.pickle_machine import Foreign
from parity.weights.pickled import Leaf
from parity.weights.state import paths

Tensors = Mapping[str, Leaf]

# By these names, and by no container's, an optimizer's state is known: torch's, by role; Paddle's, by ending.
_OPTIMIZER_ROLES = {
    "acc_delta", "exp_avg", "exp_avg_sq", "exp_inf", "grad_avg", "max_exp_avg_sq", "momentum_buffer", "mu_product",
    "square_avg", "step", "sum",
}  # fmt: skip
_OPTIMIZER_ENDING = re.compile(
    r"_(moment|moment[12]|moment2_max|velocity|inf_norm|beta[12]_pow_acc|mean_square|mean_grad|momentum"
    r"|avg_squared_(grad|update))_\d+$"
)
# What torch.compile, FSDP and activation checkpointing put into a name, wherever they wrap a part of the network; and
# `module` of DataParallel.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
# A file may nest what it holds as deeply as it is long, and name it at every level.
_MOST_LAYERS = 20_000  # of one pickled network, whose layers may hold one another
_DEEPEST = 32  # mappings inside one another, and first parts of names that are stripped
_SHOWN = 12  # keys in a message


def candidates(tree: Any) -> dict[str, Tensors]:
    """Return each mapping of names to tensors that could be a network's weights, by its dotted key; "" is the whole.

    A pickled nn.Module counts as one: its parameters are data, and none of its code is needed to read them.
    """
    found, seen = dict[str, Tensors](), set[int]()
    waiting: list[tuple[str, Any, int]] = [("", tree, 0)]
    while waiting:
        key, node, depth = waiting.pop()
        if id(node) in seen or depth > _DEEPEST:
            continue
        seen.add(id(node))
        if is_module(node):
            found[key] = _of_module(node)
            continue
        entries = _entries(node)
        tensors = {name: leaf for name, value in entries.items() if (leaf := _leaf(value)) and isinstance(name, str)}
        if tensors and not is_optimizer(tensors):
            found[key] = tensors
        inside = [
            (f"{key}.{name}" if key else name, value, depth + 1)
            for name, value in entries.items()
            if isinstance(name, str)
        ]
        waiting += reversed(inside)
    named = {key: tensors for key, tensors in found.items() if any(map(_is_weights_name, tensors))}
    return named or found  # {"state_dict": {...}, "rng_state": a tensor}: the first alone


def _is_weights_name(name: str) -> bool:
    return "." in name or name in ("weight", "bias")


def _entries(node: Any) -> Mapping[Any, Any]:
    return node if isinstance(node, dict) else node.entries if isinstance(node, Foreign) else {}


def _leaf(value: Any) -> Leaf | None:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Leaf):
        value = value[1]  # Paddle's (internal name, array)
    return value if isinstance(value, Leaf) and not getattr(value, "text", False) else None


def is_optimizer(names: Iterable[str]) -> bool:
    """Return whether the names are those of an optimizer's state."""
    names = list(names)
    return all(name in _OPTIMIZER_ROLES for name in names) or any(_OPTIMIZER_ENDING.search(name) for name in names)


def is_module(node: Any) -> bool:
    """Return whether a stand-in is that of a torch.nn.Module, which was pickled whole."""
    return isinstance(node, Foreign) and {"_parameters", "_modules"} <= node.attributes.keys()


def _of_module(module: Foreign) -> Tensors:
    def children(layer: Foreign) -> Mapping[str, Foreign]:
        inside = _entries(layer.attributes.get("_modules"))
        return {str(name): child for name, child in inside.items() if isinstance(child, Foreign)}

    found = dict[str, Leaf]()
    for number, (path, layer) in enumerate(paths(module, children)):
        if number == _MOST_LAYERS:
            raise ParityError(f"a network of more than {_MOST_LAYERS} layers")
        hidden = _members(layer.attributes.get("_non_persistent_buffers_set"))
        for store in ("_parameters", "_buffers"):
            for role, value in _entries(layer.attributes.get(store)).items():
                if role not in hidden and (leaf := _leaf(value)) is not None:
                    found[f"{path}.{role}" if path else str(role)] = leaf
    return found


def _members(value: Any) -> set[str]:
    """Return what is in a set, which protocol 2 makes of a list."""
    inside = value.arguments[0] if isinstance(value, Foreign) and value.arguments else value
    return {each for each in inside if isinstance(each, str)} if isinstance(inside, (list, tuple)) else set()


def choose(
    found: Mapping[str, Tensors], key: str | None, coverage: Callable[[Iterable[str]], int] | None = None
) -> tuple[str, Tensors]:
    """Return the weights that are meant, and their key.

    Args:
        found: `candidates`.
        key: The one asked for: a key, the last part of one, or what the names of some of the tensors begin with.
        coverage: How many of a network's tensors have these names. The candidate that covers the most is taken, or all
            together if they cover more, as parts of one network. Without it, several candidates are refused.

    Raises:
        ParityError: If none or several could be meant; all are listed.
    """
    if key is not None:
        return _asked(found, key)
    if len(found) == 1:
        return next(iter(found.items()))
    fitting = list[str]()
    if coverage is not None:
        counts = {name: coverage(tensors) for name, tensors in found.items()}
        most = max(counts.values(), default=0)
        fitting = [name for name, count in counts.items() if count == most > 0]
        joined = {f"{name}.{role}": leaf for name, tensors in found.items() for role, leaf in tensors.items()}
        if coverage(joined) > most:
            return "", joined
    if len(fitting) == 1:
        return fitting[0], found[fitting[0]]
    shown = _listed(f"{brief(name)} ({len(tensors)} tensors)" for name, tensors in found.items())
    example = next(name for name in (*fitting, *found) if name)
    raise ParityError(f"it holds several sets of weights: {shown}. Name one: --key {brief(example)}")


def _asked(found: Mapping[str, Tensors], key: str) -> tuple[str, Tensors]:
    exact = [name for name in found if name == key] or [name for name in found if name.rpartition(".")[2] == key]
    if len(exact) == 1:
        return exact[0], found[exact[0]]
    parts = {name: _beginning(tensors, f"{key}.") for name, tensors in found.items()}
    begun = [(f"{name}.{key}" if name else key, tensors) for name, tensors in parts.items() if tensors]
    if len(begun) == 1:
        return begun[0]
    known = dict.fromkeys(
        [name for name in found if name] + [group for each in found.values() for group in groups(each)]
    )
    shown = _listed(map(brief, known))
    problem = "several there have that name" if exact or begun else "there is no such part"
    raise ParityError(f"--key {brief(key)}: {problem}; it holds {shown or 'one set of weights, without a name'}")


def _beginning(tensors: Tensors, start: str) -> Tensors:
    return {name.removeprefix(start): leaf for name, leaf in tensors.items() if name.startswith(start)}


def groups(names: Iterable[str]) -> dict[str, int]:
    """Return the first parts of dotted names, and how many names begin with each."""
    counted = dict[str, int]()
    for name in names:
        first, dot, _ = name.partition(".")
        if dot:
            counted[first] = counted.get(first, 0) + 1
    return counted


def unprefixed(names: Iterable[str], fits: Callable[[Iterable[str]], bool]) -> tuple[dict[str, str], str]:
    """Return each name without what wrappers put before or into it, and what that was; "" for names that fit.

    First parts that all names share are removed until the names are the network's. Nothing is removed otherwise.

    Raises:
        ParityError: If only some of the names would fit so.
    """
    names = list(names)
    if not names or fits(names):
        return {name: name for name in names}, ""
    for removed in ((), _WRAPPERS):
        whole = {name: ".".join(part for part in name.split(".") if part not in removed) for name in names}
        short, prefix = dict(whole), ""
        while not fits(short.values()) and prefix.count(".") < _DEEPEST:
            firsts = {name.partition(".")[0] for name in short.values()}
            if len(firsts) != 1 or not all("." in name for name in short.values()):
                break
            prefix += f"{firsts.pop()}."
            short = {name: rest.partition(".")[2] for name, rest in short.items()}
        if fits(short.values()) and len(set(short.values())) == len(names):
            inside = sorted({part for name in names for part in name.split(".")} & set(removed))
            return short, ", ".join(filter(None, [prefix, *(f"{part}." for part in inside)]))
    parts = {
        group: count
        for group, count in groups(names).items()
        if fits([name.partition(".")[2] for name in names if name.startswith(f"{group}.")])
    }
    if parts:
        shown = _listed(f"{brief(group)}. ({count} tensors)" for group, count in groups(names).items())
        raise ParityError(f"its names begin with {shown}. Name the part to take: --key {brief(next(iter(parts)))}")
    return {name: name for name in names}, ""


def beside(tree: Any, key: str | None) -> dict[str, str]:
    """Return what lies beside the weights at `key`, by its key, each in a few words; None: all at the top."""
    node, shown, above = tree, dict[str, str](), ""
    while not is_module(node):
        entries = _entries(node)
        within = next((n for n in entries if isinstance(n, str) and key and f"{key}.".startswith(f"{above}{n}.")), None)
        for name, value in entries.items():
            weights = within is None and key is not None and isinstance(name, str) and _leaf(value)
            if name != within and not weights:
                shown[f"{above}{brief(name)}"] = in_words(value)
        if within is None:
            break
        node, above = entries[within], f"{above}{within}."
    return shown


def in_words(value: Any) -> str:
    """Return a value of a file in a few words: numbers and short text as they are, an object by its class's name."""
    if isinstance(value, np.generic):
        return f"{value.dtype.name} {value.item()}"
    if value is None or isinstance(value, (bool, int, float)):
        return brief(value)
    if isinstance(value, str):
        return f"text {brief(value)!r}"
    if isinstance(value, Leaf):
        return f"a {value.dtype} tensor"
    if is_module(value):
        return f"a whole network, {brief(value.name)}"
    if isinstance(value, Foreign):
        inside = ", ".join(f"{brief(name)}={_small(each)}" for name, each in list(value.attributes.items())[:4])
        more = ", ..." if len(value.attributes) > 4 else ""
        return f"{brief(value.name)}{f'({inside}{more})' if inside else ''}"
    if isinstance(value, dict):
        kind = "an optimizer's state" if {"state", "param_groups"} <= value.keys() else "a mapping"
        return f"{kind} of {len(value)}"
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__


def _small(value: Any) -> str:
    return brief(value) if value is None or isinstance(value, (bool, int, float, str)) else "..."


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def brief(value: Any) -> str:
    """Return text of a file, or a plain value, on one line of at most 60 letters."""
    text = printable(str(value)) if not isinstance(value, int) or abs(value) < 1 << 64 else "a long number"
    return text if len(text) <= 60 else f"{text[:57]}..."
