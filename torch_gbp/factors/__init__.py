"""Message rules: pure functions on tensors, one file a factor.

Letters: n batch, i in, o out, c channel, h w space. m mean, v variance; W, b weights; (g, G) the centred
message that comes back to the factor's output, g = eta - G m. A rule knows no module and no batch.
"""

from torch_gbp.factors import avg_pool, conv, conv_transpose, leaky_relu, linear, max_pool, upsample

__all__ = ["avg_pool", "conv", "conv_transpose", "leaky_relu", "linear", "max_pool", "upsample"]
