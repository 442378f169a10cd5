"""BatchNorm whose running variance is torch's: no twin, because torch's own layer is the twin.

    torch.nn.BatchNorm2d(64, momentum=0.1)    TorchBatchNorm2D(64, momentum=0.9)

Both normalise by the batch's biased variance (over M elements). What they keep for evaluation differs: Paddle that
same one, torch the unbiased one, M / (M - 1) of it: one seventh more at M = 8. So networks that were trained alike
evaluate differently. Written for Paddle 2.6 and 3.3.
"""

import paddle
from paddle import nn
from paddle.nn import functional


class TorchBatchNorm2D(nn.BatchNorm2D):
    """Normalises each channel; in training by the batch, keeping torch's running statistics.

    Args:
        num_features: Channels.
        momentum: What is kept of the running statistics at each step, as Paddle counts: 1 - torch's.
        epsilon: Added to the variance.

    Shape: N x C x H x W, both.

    Raises:
        ValueError: In training, for one element a channel, as torch does.
    """

    def __init__(self, num_features, momentum=0.9, epsilon=1e-5):
        super().__init__(num_features, momentum=momentum, epsilon=epsilon)

    def forward(self, input):
        if not self.training:
            return super().forward(input)
        elements = input.shape[0] * input.shape[2] * input.shape[3]
        if elements == 1:
            raise ValueError(f"a variance needs more than one element a channel, the input's shape is {input.shape}")
        # Paddle moves the statistics it is handed, and keeps them for backward, which forbids to touch them afterwards.
        mean, variance = self._mean.clone(), self._variance.clone()
        y = functional.batch_norm(
            input, mean, variance, self.weight, self.bias, True, momentum=self._momentum, epsilon=self._epsilon
        )
        if elements:  # an empty batch moves nothing, in either framework
            with paddle.no_grad():
                moved = variance - self._momentum * self._variance
                paddle.assign(mean, output=self._mean)
                paddle.assign(variance + moved / (elements - 1), output=self._variance)
        return y
