"""Factors: moments and messages as pure functions on tensors.

Letters: n batch, i in, o out, c channel, h w space. m mean, v variance; W, b weights; (g, G) the centred
message that comes back to the factor's output, g = eta - G m. A factor knows no module and no batch.
"""
