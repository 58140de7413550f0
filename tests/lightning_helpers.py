"""A quiet trainer and small data for the tests of lightning_modules."""

import lightning
import torch

from lightning_modules.data.base import Parts, TensorDataModule
from lightning_modules.data.loading import TensorPairs

# Lightning's own advice, about speed on many cores and a deprecated helper of torch that it still calls.
IGNORED = (
    "ignore:.*does not have many workers:lightning.pytorch.utilities.warnings.PossibleUserWarning",
    "ignore:.*isinstance.treespec, LeafSpec.* is deprecated",
    "ignore:.*The number of training batches .* is smaller than the logging interval",
    "ignore:.*no `val_dataloader`:lightning.pytorch.utilities.warnings.PossibleUserWarning",
)


def trainer(epochs, **options):
    """A trainer without output, files or validation."""
    quiet = {
        "limit_val_batches": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return lightning.Trainer(accelerator="cpu", max_epochs=epochs, **(quiet | options))


class Blobs(TensorDataModule):
    """Three classes of points in the plane, and an OOD set far from all; `size` training and 30 test points."""

    def __init__(self, size=48, batch_size=8, fixed_batches=False, validation=0.0):
        super().__init__(batch_size, validation, fixed_batches, seed=0)
        self.size = size

    def make_parts(self):
        generator = torch.Generator().manual_seed(0)
        y = torch.arange(self.size + 30) % 3
        x = 2 * torch.nn.functional.one_hot(y, 3)[:, :2] + 0.3 * torch.randn(len(y), 2, generator=generator)
        train, test = TensorPairs(x[30:], y[30:]), TensorPairs(x[:30], y[:30])
        held_out = test if self.validation else None
        return Parts(train, held_out, test, {"middle": TensorPairs(torch.full((20, 2), 0.66), torch.zeros(20).long())})
