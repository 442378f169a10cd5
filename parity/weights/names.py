"""Tables of names: how other projects name the weights of the same networks."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.zoo import NETWORKS

_Patterns = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

# From a twin's name to another project's, by patterns tried in turn; without a match the name is the same in both.
_TORCHVISION: dict[str, _Patterns] = {
    "resnet": (
        (r"^conv\.conv\.", "conv1."),
        (r"^conv\.batch_norm\.", "bn1."),
        (r"\.conv(\d)\.conv\.", lambda m: f".conv{int(m[1]) + 1}."),
        (r"\.conv(\d)\.batch_norm\.", lambda m: f".bn{int(m[1]) + 1}."),
        (r"\.short\.conv\.", ".downsample.0."),
        (r"\.short\.batch_norm\.", ".downsample.1."),
    ),
}
_PADDLE_VISION: dict[str, _Patterns] = {
    "resnet": _TORCHVISION["resnet"],
    "densenet": (
        (r"^features\.conv0\.", "conv1_func._conv."),
        (r"^features\.norm0\.", "conv1_func._batch_norm."),
        (
            r"^features\.denseblock(\d+)\.denselayer(\d+)\.(norm|conv)([12])\.",
            lambda m: f"db_conv_{int(m[1]) + 1}.conv{int(m[1]) + 1}_{m[2]}.bn_ac_func{m[4]}.{_PADDLE_LAYERS[m[3]]}.",
        ),
        (
            r"^features\.transition(\d+)\.(norm|conv)\.",
            lambda m: f"tr_conv{int(m[1]) + 1}_blk.conv_ac_func.{_PADDLE_LAYERS[m[2]]}.",
        ),
        (r"^features\.norm5\.", "batch_norm."),
        (r"^classifier\.", "out."),
    ),
}
_PADDLE_LAYERS = {"norm": "_batch_norm", "conv": "_conv"}
# Names in the densenet files that torchvision offers for download: older than torchvision's own module names.
_DOWNLOADS: dict[str, _Patterns] = {
    "densenet": ((r"(\.denselayer\d+\.(?:norm|conv))([12])\.", lambda m: f"{m[1]}.{m[2]}."),)
}
_TABLES = {"torchvision": _TORCHVISION, "paddle.vision": _PADDLE_VISION, "torchvision, as downloaded": _DOWNLOADS}

# Paddle's role of a tensor, in which kinds of layer (another kind may have the same role), and the neutral role.
_ROLES = {
    "_mean": ("BatchNorm", "running_mean"),
    "_variance": ("BatchNorm", "running_var"),
    "scale": ("InstanceNorm", "weight"),
    "_weight": ("PReLU", "weight"),
}
# Of the twins' layers.
PADDLE_ROLES = {role: paddle_role for paddle_role, (_, role) in _ROLES.items() if role != "weight"}

# Tensors used only in training, which no twin has.
_EXTRA = {"googlenet": r"aux[12]\."}

# Networks of the same name that compute another function, and a pattern of names that identifies their layout.
_OTHERS = {
    "alexnet": (
        r"_conv1\._conv\.|_fc6\.",
        "it halves the inputs of its linear layers when it predicts (downscale_in_infer), and takes 6x6 maps only",
    ),
    "googlenet": (
        r"_ince3a\.|_convprj\.|_fc_out\.",
        "it has no BatchNorm, 5x5 convolutions where torchvision has 3x3, other pooling, and three outputs",
    ),
}


def neutral_role(kind: str, paddle_role: str) -> str:
    """Return the neutral role of a tensor, from Paddle's role of it and the neutral kind of its layer."""
    layer_kind, role = _ROLES.get(paddle_role, ("", paddle_role))
    return role if layer_kind in kind else paddle_role


@functools.cache  # each name is asked for several times in a transfer
def other_name(name: str, family: str, layout: str) -> str:
    """Return a layout's name for a tensor of a twin; its role, "running_mean", stays neutral."""
    for pattern, to in _TABLES.get(layout, {}).get(family, ()):
        renamed, count = re.subn(pattern, to, name)
        if count:
            return renamed
    return name


def check_layout(network: str, layout: str) -> None:
    """Return if a layout has that network, computing the same function.

    Raises:
        ParityError: If not, with the reason.
    """
    family, published = NETWORKS[network].family, NETWORKS[network].output[1] == 1000
    if layout == "twin" or (published and (layout == "torchvision" or family in ("resnet", "vgg", "densenet"))):
        return
    if published and family in _OTHERS:
        raise ParityError(f"paddle.vision's {network} is another network than torchvision's: {_OTHERS[family][1]}")
    raise ParityError(f"{layout} has no {network}; only the twins have")


class Tables:
    """The names that a network's tensors have in each of the known layouts.

    Args:
        twin_names: The network's own names.
        family: The twin's family; "" for any other network.
    """

    def __init__(self, twin_names: Iterable[str], family: str):
        self.twins, self.family = set(twin_names), family
        self.tables = {
            layout: {other_name(name, family, layout): name for name in self.twins} for layout in ("twin", *_TABLES)
        }
        # Of two layouts with one name for two tensors, the first counts.
        self._twin = {name: twin for table in reversed(self.tables.values()) for name, twin in table.items()}

    def plain(self, name: str) -> str:
        """Return a name with the neutral word for the tensor's role."""
        path, dot, role = name.rpartition(".")
        return name if name in self.twins else path + dot + _ROLES.get(role, ((), role))[1]

    def fit(self, names: Iterable[str]) -> bool:
        """Return whether one of the names is one of the network's, in any layout, or it has none."""
        return not self.twins or bool(self.covered(names))

    def covered(self, names: Iterable[str]) -> set[str]:
        """Return which of the network's names these are, in any layout, or in another spelling of a weight norm."""
        found = set[str]()
        for name in names:
            plain = self.plain(name)
            known = next((each for each in (plain, *spellings(plain)) if each in self._twin), None)
            if known is not None:
                found.add(self._twin[known])
        return found

    def to_twin(self, tensors: Mapping[str, Array], source: str) -> tuple[dict[str, Array], str]:
        """Return the tensors under the twin's names, whichever of the known layouts they are in, and that layout.

        Batch counters, which Paddle does not have, and torchvision's auxiliary heads, which no twin has, are left out.

        Args:
            tensors: By the file's names: those of the twins, torchvision or paddle.vision.
            source: The file, for the message.

        Raises:
            ParityError: If two tensors get the same name; if the layout is that of paddle.vision's alexnet or
                googlenet; if no name is known.
        """
        if not self.fit(tensors):
            _refuse(list(tensors), self.twins, self.family, source)
        matches = dict.fromkeys(self.tables, 0)
        renamed: dict[str, Array] = {}
        sources: dict[str, str] = {}
        for name, array in tensors.items():
            plain = self.plain(name)
            for layout, table in self.tables.items():
                matches[layout] += 1 if plain in table else 0
            extra = plain not in self.twins and _matches(_EXTRA, self.family, plain)
            if extra or name.rpartition(".")[2] == "num_batches_tracked":
                continue
            own = name if plain.endswith("weight") else plain  # not known: as the file has it
            twin = next((table[plain] for table in self.tables.values() if plain in table), own)
            if twin in renamed:
                raise ParityError(f"{source}: {sources[twin]} and {name} are two tensors for the one {twin}")
            renamed[twin], sources[twin] = array, name
        return renamed, max(matches, key=lambda layout: matches[layout])


# torch.nn.utils.weight_norm's names for one tensor, and its successor's; Paddle has the former.
_WEIGHT_NORM = (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1"))


def spellings(name: str) -> list[str]:
    """Return the other names of a tensor that a weight norm has made of a weight."""
    found = []
    for old, new in _WEIGHT_NORM:
        for one, other in ((old, new), (new, old)):
            if name == one or name.endswith(f".{one}"):
                found.append(name.removesuffix(one) + other)
    return found


def _matches(patterns: Mapping[str, str], family: str, name: str) -> bool:
    return family in patterns and re.match(patterns[family], name) is not None


def _refuse(names: list[str], twins: set[str], family: str, source: str) -> None:
    """Raise the ParityError for a file of which no name is known."""
    if family in _OTHERS and any(re.search(_OTHERS[family][0], name) for name in names):
        raise ParityError(
            f"{source}: weights of paddle.vision's {family}, which is another network than torchvision's: "
            f"{_OTHERS[family][1]}. Use torchvision's."
        )
    known = "the twins, torchvision and paddle.vision" if family else "the network's"
    raise ParityError(
        f"{source}: unknown layout: none of its {len(names)} names is one of {known}. "
        f"It holds {_some(names)}; expected names: {_some(sorted(twins))}"
    )


def _some(names: list[str]) -> str:
    shown = [name if name.isprintable() and len(name) <= 80 else f"{name[:60]!r}..." for name in names[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"


def owner_of(name: str) -> tuple[str, str]:
    """Return the layer that a tensor belongs to, and its role there; torch keeps a weight norm's in a layer within it.

    Example:
        >>> owner_of("stem.conv.bias"), owner_of("stem.conv.parametrizations.weight.original0")
        (('stem.conv', 'bias'), ('stem.conv', 'weight.original0'))
    """
    layer, mark, role = f".{name}".partition(".parametrizations.")
    if not mark:
        layer, _, role = name.rpartition(".")
    return layer.removeprefix("."), role
