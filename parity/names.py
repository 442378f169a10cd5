"""Tables of names: what other projects call the weights of the same networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from parity.errors import ParityError
from parity.state import Array

# From a twin's name to torchvision's, by patterns tried in turn; a name that none of them fits is the same in both.
_TORCHVISION: dict[str, tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]] = {
    "resnet": (
        (r"^conv\.conv\.", "conv1."),
        (r"^conv\.batch_norm\.", "bn1."),
        (r"\.conv(\d)\.conv\.", lambda m: f".conv{int(m[1]) + 1}."),
        (r"\.conv(\d)\.batch_norm\.", lambda m: f".bn{int(m[1]) + 1}."),
        (r"\.short\.conv\.", ".downsample.0."),
        (r"\.short\.batch_norm\.", ".downsample.1."),
    ),
}
_PADDLE_ROLES = {"_mean": "running_mean", "_variance": "running_var"}


def torchvision_name(name: str, family: str) -> str:
    """Return what torchvision calls a tensor of a twin; paddle.vision's ResNets have the same names."""
    for pattern, to in _TORCHVISION.get(family, ()):
        renamed, count = re.subn(pattern, to, name)
        if count:
            return renamed
    return name


def to_twin(tensors: Mapping[str, Array], wanted: Iterable[str], family: str, source: str) -> dict[str, Array]:
    """Return the tensors under the twins' names, whichever of the known layouts they came in.

    Args:
        tensors: As the file names them: as the twins, torchvision or paddle.vision do.
        wanted: The twin's own names.
        family: The twin's family, "" for a network that is no twin.
        source: The file, for the message.

    Raises:
        ParityError: If two tensors come to the same name.
    """
    twins = set(wanted)
    table = {torchvision_name(name, family): name for name in twins}
    renamed: dict[str, Array] = {}
    sources: dict[str, str] = {}
    for name, array in tensors.items():
        if name.rpartition(".")[2] == "num_batches_tracked":
            continue  # steers nothing here, and has no partner in Paddle
        plain = re.sub(r"(^|\.)_(?:mean|variance)$", lambda m: m[1] + _PADDLE_ROLES[m[0].lstrip(".")], name)
        own = plain if plain in twins else table.get(plain, plain)
        if own in renamed:
            raise ParityError(f"{source}: {sources[own]} and {name} are two tensors for the one {own}")
        renamed[own], sources[own] = array, name
    return renamed
