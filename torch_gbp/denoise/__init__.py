"""Denoising: images as graphs of pixels, with smoothness or learned reconstruction, inferred from the noisy image alone."""
