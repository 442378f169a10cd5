"""Rules of onnxscript, chosen one by one: its default set also rewrites forms that both exporters share.

1. Arithmetic that changes nothing: x * 1, x + 0, x - 0, x / 1, dropout in evaluation mode.
2. Casts, expands and transposes that change nothing; two in a row that are one.
3. Two changes of shape in a row, which are one; a slice that takes everything.
4. A bias of zeros, which has no effect.
5. Padding before a convolution, moved into the convolution; auto_pad written as numbers.
6. A ReLU of a ReLU.
"""

from __future__ import annotations

from onnxscript.rewriter import RewriteRule
from onnxscript.rewriter.rules import common

RULES: tuple[RewriteRule, ...] = (
    *common.mul_by_1_rule.commute(),  # 1
    *common.add_0_rule.commute(),
    common.sub_0_rule,
    common.div_by_1_rule,
    common.dropout_zero_rule,
    common.dropout_inference_rule,
    common.cast_cast_rule,  # 2
    common.no_op_cast_rule,
    common.no_op_expand_rule,
    common.no_op_transpose_rule,
    common.transpose_transpose_rule,
    common.reshape_reshape_rule,  # 3
    common.squeeze_reshape_1d_rule,
    common.unsqueeze_unsqueeze_rule,
    common.collapse_slice_rule,
    common.collapse_slice2_rule,
    common.remove_optional_bias_from_conv_rule,  # 4
    common.remove_optional_bias_from_conv_transpose_rule,
    common.remove_optional_bias_from_gemm_rule,
    common.normalize_pad_format_conv_rule,  # 5
    common.fuse_pad_into_conv_rule,
    common.successive_relu_rule,  # 6
)
