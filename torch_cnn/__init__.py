"""The classic convolutional networks in PyTorch, one file per family; the twin of `paddle_cnn`."""

from difflib import get_close_matches

from . import alexnet, densenet, googlenet, lenet, nin, regnet, resnet, vgg

_BUILDERS = {
    builder.__name__: builder
    for family in (lenet, alexnet, vgg, nin, googlenet, resnet, densenet, regnet)
    for builder in family.NETWORKS
}


def names():
    """Return the names that `build` takes, family by family."""
    return list(_BUILDERS)


def build(name, **options):
    """Return a new network with the framework's own initial weights, in training mode.

    Args:
        name: One of `names()`.
        options: What the network's builder takes: `num_classes`, `in_channels`; each has the published default.

    Raises:
        ValueError: For an unknown name; the message lists near matches.
    """
    if name not in _BUILDERS:
        near = get_close_matches(name, _BUILDERS, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(_BUILDERS)}"
        raise ValueError(f"unknown network {name!r}; {hint}")
    return _BUILDERS[name](**options)
