"""What a file of lower precision costs: its report, and what to know before trusting it."""

from __future__ import annotations

from dataclasses import dataclass

_FEW = 20  # pictures: of fewer, one more or less moves the share of the same most likely class by over 5 %
_VISIBLE = 0.99  # a share of the same most likely class below this costs accuracy that one can measure


@dataclass(frozen=True)
class Report:
    """A file of lower precision, compared with the float32 file it came from.

    Attributes:
        precision: "fp16" or "int8".
        images: Number of pictures that it was judged on.
        judged_on: Where these are from.
        calibrated: Number of pictures that the ranges of int8 activations are from; 0 for fp16.
        held_out: Whether it was judged on other pictures than it was calibrated on.
        top1: Fraction of them with the same most likely class, 0 to 1.
        worst: Largest difference of any logit, in units of the float32 logits' root mean square.
        mean: Mean difference, in the same units.
        size: Bytes of the file over bytes of the float32 file.
        speed: Time of the float32 file over the time of this file; 2 is twice as fast. For one picture on the CPU;
            medians of runs that take turns.
        float32_nodes: Nodes of an fp16 file that stay in float32, since their numbers exceed half precision's range.
    """

    precision: str
    images: int
    judged_on: str
    calibrated: int
    held_out: bool
    top1: float
    worst: float
    mean: float
    size: float
    speed: float
    float32_nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        single = ""
        if self.float32_nodes:
            more = f" and {len(self.float32_nodes) - 6} more" if len(self.float32_nodes) > 6 else ""
            single = f" Kept in float32, beyond half precision's range: {', '.join(self.float32_nodes[:6])}{more}."
        others = f", other than the {self.calibrated} it was calibrated on" if self.calibrated and self.held_out else ""
        return (
            f"{self.precision}: same most likely class for {self.top1:.1%} of {self.images} pictures "
            f"({self.judged_on}{others}); logits differ by "
            f"{self.worst:.2g} of their rms at worst, {self.mean:.2g} on average; {self.size:.2f} x the size, "
            f"{self.speed:.2f} x the speed.{single}"
        )

    def warnings(self) -> list[str]:
        """Return what a user should know before trusting the file, a sentence each."""
        warnings = []
        if self.top1 < _VISIBLE:
            warnings.append(
                f"{self.precision} changes the most likely class of {1 - self.top1:.1%} of the pictures: measure its "
                "accuracy on pictures whose class you know; --min-top1 PERCENT makes this exit 1"
            )
        if self.calibrated and not self.held_out:
            warnings.append("it was judged on the picture that it was calibrated on: give more than one")
        elif self.calibrated and min(self.calibrated, self.images) < _FEW:
            warnings.append(
                f"{self.calibrated} pictures to calibrate on and {self.images} to judge on are few: give 200 in all"
            )
        return warnings
