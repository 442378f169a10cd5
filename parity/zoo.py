"""The zoo: every network that exists as twins, with the numbers that a correct build must have."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple


class Network(NamedTuple):
    """One row of the zoo.

    Attributes:
        name: The argument of `build`.
        family: The file that holds it in both packages.
        input: Shape of its published input, (N, C, H, W).
        output: Shape of its output for that input.
        parameters: Trained numbers, without running statistics.
        macs: Multiplications of convolutions and linear layers at that input.
    """

    name: str
    family: str
    input: tuple[int, int, int, int]
    output: tuple[int, int]
    parameters: int
    macs: int


_IMAGENET = (1, 3, 224, 224), (1, 1000)
_GREY_224 = (1, 1, 224, 224), (1, 10)
_CIFAR = (1, 3, 32, 32), (1, 10)

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network("lenet5", "lenet", (1, 1, 28, 28), (1, 10), 44_426, 281_640),
        Network("alexnet_d2l", "alexnet", *_GREY_224, 46_764_746, 938_146_176),
        Network("alexnet_d2l_pad1", "alexnet", *_GREY_224, 46_764_746, 938_146_176),
        Network("alexnet", "alexnet", *_IMAGENET, 61_100_840, 714_188_480),
        Network("vgg11_d2l", "vgg", *_GREY_224, 128_806_154, 7_547_232_256),
        Network("vgg11_d2l_small", "vgg", *_GREY_224, 43_093_322, 512_155_648),
        Network("vgg11", "vgg", *_IMAGENET, 132_863_336, 7_609_090_048),
        Network("vgg13", "vgg", *_IMAGENET, 133_047_848, 11_308_466_176),
        Network("vgg16", "vgg", *_IMAGENET, 138_357_544, 15_470_264_320),
        Network("vgg19", "vgg", *_IMAGENET, 143_667_240, 19_632_062_464),
        Network("vgg11_bn", "vgg", *_IMAGENET, 132_868_840, 7_609_090_048),
        Network("vgg13_bn", "vgg", *_IMAGENET, 133_053_736, 11_308_466_176),
        Network("vgg16_bn", "vgg", *_IMAGENET, 138_365_992, 15_470_264_320),
        Network("vgg19_bn", "vgg", *_IMAGENET, 143_678_248, 19_632_062_464),
        Network("nin", "nin", *_GREY_224, 1_992_166, 762_297_352),
        Network("googlenet_d2l", "googlenet", (1, 1, 96, 96), (1, 10), 5_977_530, 276_066_304),
        Network("googlenet", "googlenet", *_IMAGENET, 6_624_904, 1_498_376_192),
        Network("resnet18_d2l", "resnet", *_GREY_224, 11_178_378, 1_734_890_496),
        Network("resnet18", "resnet", *_IMAGENET, 11_689_512, 1_814_073_344),
        Network("resnet34", "resnet", *_IMAGENET, 21_797_672, 3_663_761_408),
        Network("resnet50", "resnet", *_IMAGENET, 25_557_032, 4_089_184_256),
        Network("resnet101", "resnet", *_IMAGENET, 44_549_160, 7_801_405_440),
        Network("resnet152", "resnet", *_IMAGENET, 60_192_808, 11_513_626_624),
        Network("resnext50_32x4d", "resnet", *_IMAGENET, 25_028_904, 4_230_479_872),
        Network("wide_resnet50_2", "resnet", *_IMAGENET, 68_883_240, 11_398_021_120),
        Network("densenet_d2l", "densenet", (1, 1, 96, 96), (1, 10), 758_226, 129_077_168),
        Network("densenet_cifar_40_12", "densenet", *_CIFAR, 1_019_722, 264_812_928),
        Network("densenet_cifar_100_12", "densenet", *_CIFAR, 6_979_642, 1_769_516_448),
        Network("densenet_cifar_100_24", "densenet", *_CIFAR, 27_249_082, 6_889_347_744),
        Network("densenet_bc_cifar_100_12", "densenet", *_CIFAR, 769_162, 287_929_692),
        Network("densenet_bc_cifar_250_24", "densenet", *_CIFAR, 15_324_406, 5_418_785_724),
        Network("densenet_bc_cifar_190_40", "densenet", *_CIFAR, 25_624_430, 9_301_945_740),
        Network("densenet121", "densenet", *_IMAGENET, 7_978_856, 2_834_161_664),
        Network("densenet161", "densenet", *_IMAGENET, 28_681_000, 7_727_907_072),
        Network("densenet169", "densenet", *_IMAGENET, 14_149_480, 3_359_843_328),
        Network("densenet201", "densenet", *_IMAGENET, 20_013_928, 4_291_365_888),
        Network("regnet_x_400mf", "regnet", *_IMAGENET, 5_495_976, 413_812_608),
        Network("regnet_x_800mf", "regnet", *_IMAGENET, 7_259_656, 799_699_712),
        Network("regnet_x_1_6gf", "regnet", *_IMAGENET, 9_190_136, 1_602_849_792),
        Network("regnet_x_3_2gf", "regnet", *_IMAGENET, 15_296_552, 3_176_621_952),
        Network("regnet_x_8gf", "regnet", *_IMAGENET, 39_572_648, 7_995_132_416),
        Network("regnet_x_16gf", "regnet", *_IMAGENET, 54_278_536, 15_940_755_456),
        Network("regnet_x_32gf", "regnet", *_IMAGENET, 107_811_560, 31_735_929_792),
        Network("regnet_y_400mf", "regnet", *_IMAGENET, 4_344_144, 401_842_848),
        Network("regnet_y_800mf", "regnet", *_IMAGENET, 6_432_512, 833_856_256),
        Network("regnet_y_1_6gf", "regnet", *_IMAGENET, 11_202_430, 1_612_076_160),
        Network("regnet_y_3_2gf", "regnet", *_IMAGENET, 19_436_338, 3_176_482_752),
        Network("regnet_y_8gf", "regnet", *_IMAGENET, 39_381_472, 8_473_070_592),
        Network("regnet_y_16gf", "regnet", *_IMAGENET, 83_590_140, 15_911_510_272),
        Network("regnet_y_32gf", "regnet", *_IMAGENET, 145_046_770, 32_279_552_832),
    )
}


def matches(name: str) -> list[str]:
    """Return the names of the zoo that are most similar to this one, at most three."""
    return get_close_matches(name, NETWORKS, n=3, cutoff=0.5)


def near(name: str) -> str:
    """Return the advice after "unknown network": near matches, or all names."""
    similar = matches(name)
    return f"did you mean {', '.join(similar)}?" if similar else f"known: {', '.join(NETWORKS)}"
