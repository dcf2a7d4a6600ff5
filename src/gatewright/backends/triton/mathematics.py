"""The pointwise operations, each as an expression in Triton of the names of its operands.

Triton's own functions are fast approximations on the GPU; so exp and its family come from
`libdevice`, NVIDIA's library of accurate functions, which is within an ulp or two.
"""

from __future__ import annotations

#: `{0}`, `{1}` and `{2}` are the operands: names of tensors, so they may occur several times.
POINTWISE: dict[str, str] = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "power": "libdevice.pow({0}, {1})",
    # NaN if either operand is: a comparison with NaN is false, so {0} is tested for it.
    "maximum": "tl.where(({0} > {1}) | ({0} != {0}), {0}, {1})",
    "minimum": "tl.where(({0} < {1}) | ({0} != {0}), {0}, {1})",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "logical_and": "{0} & {1}",
    "logical_or": "{0} | {1}",
    "logical_not": "{0} == 0",
    "where": "tl.where({0}, {1}, {2})",
    "sigmoid": "1.0 / (1.0 + libdevice.exp(-{0}))",
    "tanh": "libdevice.tanh({0})",
    "exp": "libdevice.exp({0})",
    "expm1": "libdevice.expm1({0})",
    "log": "libdevice.log({0})",
    "log1p": "libdevice.log1p({0})",
    "sqrt": "libdevice.sqrt({0})",
    "abs": "tl.abs({0})",
    "sign": "tl.where({0} > 0.0, 1.0, tl.where({0} < 0.0, -1.0, 0.0))",
    "sin": "libdevice.sin({0})",
    "cos": "libdevice.cos({0})",
    "erf": "libdevice.erf({0})",
    "relu": "tl.where({0} <= 0.0, 0.0, {0})",
    "softplus": "tl.where({0} > 0.0, {0}, 0.0) + libdevice.log1p(libdevice.exp(-tl.abs({0})))",
    "stop_gradient": "{0}",
    # One value a row is a column, which Triton broadcasts where it meets whole rows.
    "expand": "{0}",
    "sum": "{0}",
    "largest": "{0}",
}
