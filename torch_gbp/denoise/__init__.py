"""Denoising: images as graphs of pixels, with smoothness or learned reconstruction, inferred from the noisy image alone."""

from torch_gbp.denoise.denoiser import Denoiser
from torch_gbp.denoise.graph import Denoised
from torch_gbp.denoise.pairwise import Smoothness
from torch_gbp.denoise.reconstruction import Reconstruction
from torch_gbp.denoise.robust import Huber, Quadratic, Tukey
from torch_gbp.denoise.smoother import PairwiseSmoother
from torch_gbp.denoise.stack import Stack, five_layers
from torch_gbp.denoise.upsampling import Upsampling

__all__ = [
    "Denoised", "Denoiser", "Huber", "PairwiseSmoother", "Quadratic", "Reconstruction", "Smoothness", "Stack", "Tukey",
    "Upsampling", "five_layers",
]  # fmt: skip
