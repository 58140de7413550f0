"""Factors: moments and messages as pure functions on tensors.

Reading order: `numerics`, `quadrature`; `factor` (the protocol); `maps`, `convolutions`, `held`, `covariance`, `bilinear`,
`per_edge` (products of inputs and weights); `tilted`, `elementwise`, `leaky_relu`, `activations`; `linear_map`, `max_pool`,
`unary`; `torch_functions` (what torch's functions do to beliefs).
Letters: n batch, i in, o out, c channel, h w space. m mean, v variance; W, b weights; (g, G) the centred
message that comes back to the factor's output, g = eta - G m. A factor knows no module and no batch.
"""
