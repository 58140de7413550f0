"""Save, load, continue = never having stopped, bit for bit."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_helpers import IGNORED, Blobs, trainer
from torch import nn

import torch_gbp as gbp
from lightning_modules import AdamWClassifier, GBPClassifier
from lightning_modules.networks import mlp

SHARED = "ignore:Checkpoint directory .* exists and is not empty"  # the resumed run goes on in the folder of the first
pytestmark = [pytest.mark.filterwarnings(text) for text in (*IGNORED, SHARED)]


def module(seed, store=None, epochs=None):
    torch.manual_seed(seed)
    model = nn.Sequential(gbp.GBPLinear(2, 5), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(5, 3))
    return GBPClassifier(model, gbp.Softmax(4.0), lr=0.3, epochs=epochs, store=store)


def every_pass(folder):
    """Trainer options that keep a checkpoint of every pass."""
    return {"callbacks": [ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)], "enable_checkpointing": True}


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")  # 24 steps from the symmetric point of BatchSites
@pytest.mark.parametrize(
    ("make", "fixed"),
    [
        (lambda seed: module(seed, epochs=4), False),
        (lambda seed: module(seed, gbp.BatchSites(), epochs=4), True),
        (lambda seed: AdamWClassifier(mlp(2, (5,), 3)), False),
    ],
    ids=["averaged", "batch-sites", "adamw"],
)
def test_resumed_run_equals_the_unbroken_one(tmp_path, make, fixed):
    unbroken = make(seed=1)
    trainer(4, **every_pass(tmp_path)).fit(unbroken, Blobs(fixed_batches=fixed))
    resumed = make(seed=2)  # another random start, to be overwritten by the checkpoint
    run = trainer(4, **every_pass(tmp_path))
    run.fit(resumed, Blobs(fixed_batches=fixed), ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True)
    assert run.global_step == 24
    torch.testing.assert_close(resumed.state_dict(), unbroken.state_dict(), atol=0, rtol=0)


def test_two_passes_then_two_more_equal_four(tmp_path):
    """The first trainer ends after two passes: `epochs` keeps the schedule that of all four."""
    whole = module(1, epochs=4)
    trainer(4).fit(whole, Blobs())
    first = trainer(2)
    first.fit(module(1, epochs=4), Blobs())
    first.save_checkpoint(tmp_path / "half.ckpt")
    second = module(2, epochs=4)
    trainer(4).fit(second, Blobs(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    torch.testing.assert_close(second.state_dict(), whole.state_dict(), atol=0, rtol=0)


def test_a_resumed_run_counts_the_examples_of_its_own_data(tmp_path):
    """The second run has more data than the first: its steps are shares of the new passes."""
    first = trainer(1)
    first.fit(module(1), Blobs(size=48))
    first.save_checkpoint(tmp_path / "few.ckpt")
    run = trainer(3)
    run.fit(module(1), Blobs(size=96), ckpt_path=tmp_path / "few.ckpt", weights_only=True)
    (group,) = run.optimizers[0].param_groups
    assert (group["num_data"], group["epochs"]) == (96, 3)


def test_longer_run_stretches_the_schedule(tmp_path):
    first = trainer(2)
    first.fit(module(1), Blobs())
    first.save_checkpoint(tmp_path / "done.ckpt")
    longer = trainer(5)
    longer.fit(module(2), Blobs(), ckpt_path=tmp_path / "done.ckpt", weights_only=True)
    assert longer.optimizers[0].param_groups[0]["epochs"] == 5


def test_checkpoint_loads_into_a_bare_module(tmp_path):
    trained, run = module(1), trainer(1)
    run.fit(trained, Blobs())
    run.save_checkpoint(tmp_path / "model.ckpt")
    model = nn.Sequential(gbp.GBPLinear(2, 5), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(5, 3))
    loaded = GBPClassifier.load_from_checkpoint(tmp_path / "model.ckpt", model=model, weights_only=True)
    x = torch.randn(4, 2)
    torch.testing.assert_close(loaded.log_probabilities(x), trained.log_probabilities(x), atol=0, rtol=0)
