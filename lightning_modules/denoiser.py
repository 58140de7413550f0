"""GBPDenoiser: a stream of noisy images under Lightning, each one step of inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics.functional.image import peak_signal_noise_ratio

from torch_gbp.denoise import Denoised, Denoiser


class GBPDenoiser(lightning.LightningModule):
    """Denoises images (channels, h, w) in [0, 1] one after the other, and learns the filters on the way, from the noise alone.

    A batch is noisy images (n, channels, h, w), or a pair (noisy, clean): clean images are only compared with. `fit`, `test`
    and `predict` do the same: the stream goes on. `fit` counts a step and writes checkpoints, which hold the filters'
    marginals and how far the stream is; `predict` returns the denoised images, of the shape of the batch. Logs `train/energy`,
    `train/psnr` and `test/psnr` in dB; per image to the loggers, and as mean over the pass.

    Args:
        denoiser: of images of this many channels.
        iterations: of the first image, and of every one where `forget` is None.
        later_iterations: of the others; None takes `iterations`.
        rate: as of `Denoiser.infer`.
        forget: as of `Denoiser.advance`; None forgets the filters after every image.
        seed: of the random starts.

    >>> from torch_gbp.denoise import Reconstruction
    >>> module = GBPDenoiser(Denoiser(Reconstruction(1, 2, deviation=0.1, weight_deviation=0.3)), iterations=5)
    >>> module.denoise(torch.full((1, 8, 8), 0.5)).belief.shape, int(module.seen)
    (torch.Size([1, 8, 8]), 1)
    """

    seen: Tensor  # images so far

    def __init__(
        self,
        denoiser: Denoiser,
        iterations: int = 150,
        later_iterations: int | None = None,
        rate: float = 0.1,
        forget: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.denoiser, self.rate, self.forget, self.seed = denoiser, rate, forget, seed
        self.iterations = iterations
        self.later_iterations = iterations if later_iterations is None else later_iterations
        self.automatic_optimization = False
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def denoise(self, image: Tensor) -> Denoised:
        """Belief of the next image of the stream."""
        seen = int(self.seen)
        generator = torch.Generator().manual_seed(self.seed + seen)
        if seen == 0 or self.forget is None:
            self.denoiser.reset(generator)
        else:
            self.denoiser.advance(self.forget)
        iterations = self.later_iterations if seen and self.forget is not None else self.iterations
        found = self.denoiser.infer(image, iterations=iterations, rate=self.rate, generator=generator)
        self.seen += 1
        return found

    def configure_optimizers(self) -> Any:
        return [_OneStepPerImage(self.denoiser.buffers())]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """A step for every image."""
        for image, clean in _pairs(batch):
            found = self.optimizers().step(closure=lambda image=image: self.denoise(image))  # type: ignore[union-attr]
            energy = found.energy[-1] / image.numel()
            self.log("train/energy", energy, prog_bar=True, on_step=True, on_epoch=True, batch_size=1)
            self._compare("train", found.belief.mean, clean, on_step=True, prog_bar=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        for image, clean in _pairs(batch):
            self._compare("test", self.denoise(image).belief.mean, clean)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """The denoised images, in [0, 1] and shaped as the batch."""
        return torch.stack([self.denoise(image).belief.mean.clamp(0, 1) for image, _ in _pairs(batch)])

    def _compare(self, stage: str, found: Tensor, clean: Tensor | None, **options: Any) -> None:
        if clean is not None:
            score = peak_signal_noise_ratio(found.clamp(0, 1), clean, data_range=1.0)
            self.log(f"{stage}/psnr", score, on_epoch=True, batch_size=1, **options)


class _OneStepPerImage(Optimizer):
    """Lets the trainer count images as steps: the step is the inference that it is given."""

    def __init__(self, filters: Iterable[Tensor]) -> None:
        super().__init__(filters, {})

    def step(self, closure: Callable[[], Denoised]) -> Denoised:  # type: ignore[override]
        return closure()


def _pairs(batch: Any) -> Iterable[tuple[Tensor, Tensor | None]]:
    """Image after image, with its clean one where there is one."""
    if isinstance(batch, Tensor):
        return [(image, None) for image in batch]
    return zip(batch[0], batch[1], strict=True) if len(batch) > 1 else [(image, None) for image in batch[0]]
