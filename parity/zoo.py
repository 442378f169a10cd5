"""The zoo: every network that exists as twins, with what a right build must show."""

from __future__ import annotations

from typing import NamedTuple


class Network(NamedTuple):
    """One row of the zoo.

    Attributes:
        name: What `build` takes.
        family: The file both packages hold it in.
        input: Shape of its published input, (N, C, H, W).
        output: Shape of what it makes of that.
        parameters: Trained numbers; no running statistics.
        macs: Multiplications of convolutions and linear layers at that input.
    """

    name: str
    family: str
    input: tuple[int, int, int, int]
    output: tuple[int, int]
    parameters: int
    macs: int


_IMAGENET = (1, 3, 224, 224), (1, 1000)

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network("resnet18", "resnet", *_IMAGENET, 11_689_512, 1_814_073_344),
        Network("resnet34", "resnet", *_IMAGENET, 21_797_672, 3_663_761_408),
        Network("resnet50", "resnet", *_IMAGENET, 25_557_032, 4_089_184_256),
        Network("resnet101", "resnet", *_IMAGENET, 44_549_160, 7_801_405_440),
        Network("resnet152", "resnet", *_IMAGENET, 60_192_808, 11_513_626_624),
        Network("resnext50_32x4d", "resnet", *_IMAGENET, 25_028_904, 4_230_479_872),
        Network("wide_resnet50_2", "resnet", *_IMAGENET, 68_883_240, 11_398_021_120),
    )
}
