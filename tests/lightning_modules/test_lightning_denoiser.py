"""GBPDenoiser: the frames of a denoiser by hand, logged, predicted, and resumed from a checkpoint."""

import csv
import math
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning_helpers import IGNORED
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules import GBPDenoiser
from torch_gbp.denoise import Denoiser, Reconstruction, Tukey
from torch_gbp.errors import InvalidInput

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


def clips(frames=3):
    """Noisy and clean frames of a moving wave, (frames, 2, 16, 18)."""
    generator = torch.Generator().manual_seed(0)
    at = torch.arange(frames)[:, None, None, None] + 0.4 * torch.arange(16)[:, None] + 0.5 * torch.arange(18)
    clean = 0.5 + 0.3 * torch.cat([torch.sin(at), torch.cos(at)], 1)
    hit = torch.rand(frames, 1, 16, 18, generator=generator) < 0.1
    return torch.where(hit, torch.rand(clean.shape, generator=generator), clean), clean


def denoiser():
    return Denoiser(Reconstruction(2, 3, deviation=0.1, robust=Tukey(1.4), weight_deviation=0.3, start_deviation=0.3))


def module(**changes):
    return GBPDenoiser(denoiser(), **{"iterations": 30, "later_iterations": 20, "forget": 0.3} | changes)


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(max_epochs=1, accelerator="cpu", log_every_n_steps=1, **quiet | options)


def loader(*tensors, batch_size=1):
    return DataLoader(TensorDataset(*tensors), batch_size=batch_size)  # by name: Lightning may make it anew


def by_hand(noisy, forget):
    model, found = denoiser(), []
    for index, image in enumerate(noisy):
        generator = torch.Generator().manual_seed(index)
        if index == 0 or forget is None:
            model.reset(generator)
        else:
            model.advance(forget)
        iterations = 20 if index and forget is not None else 30
        found.append(model.infer(image, iterations=iterations, generator=generator).belief.mean.clamp(0, 1))
    return torch.stack(found)


@pytest.mark.parametrize("forget", [0.3, None])
def test_predictions_are_the_frames_denoised_by_hand(forget):
    noisy, _ = clips()
    found = trainer().predict(module(forget=forget), loader(noisy, batch_size=2))
    assert [len(part) for part in found] == [2, 1]
    assert_close(torch.cat(found), by_hand(noisy, forget), rtol=0, atol=0)


def test_fit_logs_the_psnr_of_every_frame_and_counts_them_as_steps(tmp_path):
    noisy, clean = clips()
    runner = trainer(logger=CSVLogger(tmp_path))
    runner.fit(module(), loader(noisy, clean))
    squared = (by_hand(noisy, 0.3) - clean).square().flatten(1).mean(1)
    expected = [-10 * math.log10(float(own)) for own in squared]
    with (Path(runner.logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train/psnr_step"]) for row in rows if row["train/psnr_step"]] == pytest.approx(expected, rel=1e-5)
    assert runner.global_step == 3
    assert float(runner.callback_metrics["train/psnr_epoch"]) == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert all(row["train/energy_step"] for row in rows if row["train/psnr_step"])


def test_a_stream_goes_on_from_a_checkpoint(tmp_path):
    noisy, _ = clips()
    runner = trainer(enable_checkpointing=True, default_root_dir=tmp_path)
    runner.fit(module(), loader(noisy[:2]))
    saved = next(tmp_path.rglob("*.ckpt"))
    other = GBPDenoiser.load_from_checkpoint(saved, denoiser=denoiser(), iterations=30, later_iterations=20, forget=0.3)
    assert int(other.seen) == 2
    assert_close(torch.cat(trainer().predict(other, loader(noisy[2:]))), by_hand(noisy, 0.3)[2:], rtol=0, atol=0)


def test_test_scores_and_bad_frames():
    noisy, clean = clips()
    (scores,) = trainer().test(module(), loader(noisy, clean), verbose=False)
    squared = (by_hand(noisy, 0.3) - clean).square().flatten(1).mean(1)
    assert scores["test/psnr"] == pytest.approx(float(-10 * squared.log10().mean()), rel=1e-5)
    own = module()
    with pytest.raises(InvalidInput, match="must lie in"):
        trainer().predict(own, loader(255 * noisy))
    assert int(own.seen) == 0
