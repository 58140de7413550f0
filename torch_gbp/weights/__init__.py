"""Marginals of weights: what they hold, their priors, how they lie on parameters and are saved."""
