"""BlockLocalClassifier: the loop of BlockLocal under Lightning, what it logs, checkpoints, a message-passing head, the CLI."""

import copy
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning_helpers import IGNORED, Blobs, trainer, write_image_sets
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from lightning_modules import BlockLocalClassifier, Digits
from lightning_modules.block_local_classifier import BETAS, rate
from lightning_modules.cli import main
from lightning_modules.networks import BlockResNet, BlockResNet50
from torch_gbp.errors import InvalidInput
from torch_gbp.local import BlockLocal, split_equally

CONFIGS = Path(__file__).parents[2] / "lightning_modules" / "configs"
DEPRECATED = "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"
SHARED = "ignore:Checkpoint directory .* exists and is not empty"
pytestmark = [pytest.mark.filterwarnings(text) for text in (*IGNORED, DEPRECATED, SHARED)]


def blobs_blocks(head=None):
    """Three blocks, or two and a head, for the points of `Blobs`."""
    layers = [nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU()]
    example = torch.zeros(2, 2)
    if head is not None:
        return BlockLocal([*split_equally(layers, 2), head], 3, example, end_loss=gbp.Softmax())
    return BlockLocal(split_equally([*layers, nn.Linear(8, 3)], 3), 3, example)


class Seen(Callback):
    """Keeps the batches."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch)


def test_it_trains_as_the_loop_of_its_blocks_and_counts_batches():
    model = blobs_blocks()
    other = copy.deepcopy(model)
    seen = Seen()
    run = trainer(2, callbacks=[seen])
    run.fit(BlockLocalClassifier(model, lr=0.02, weight_decay=0.1), Blobs())
    assert run.global_step == len(seen.batches) == 12
    optimizers = [torch.optim.AdamW(group, 0.02, BETAS, weight_decay=0.1) for group in other.block_parameters()]
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda step: rate(step, 12)) for each in optimizers]
    for x, y in seen.batches:
        other.train().step(x, y, optimizers)
        for schedule in schedules:
            schedule.step()
    assert_close(model.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_progress_bar_and_loggers_show_the_loss_of_every_block(tmp_path):
    run = trainer(1, logger=CSVLogger(tmp_path), log_every_n_steps=1)
    run.fit(BlockLocalClassifier(blobs_blocks()), Blobs())
    names = {f"train/block{k}" for k in range(3)}
    assert names <= {name.removesuffix("_step") for name in run.progress_bar_metrics}
    text = next(tmp_path.rglob("metrics.csv")).read_text()
    assert all(f"{name}_step" in text and f"{name}_epoch" in text for name in names)
    assert run.callback_metrics["train/loss_step"] == run.callback_metrics["train/block2_step"]


def every_pass(folder):
    """Trainer options that keep a checkpoint of every pass."""
    return {"callbacks": [ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)], "enable_checkpointing": True}


def test_resumed_run_equals_the_unbroken_one(tmp_path):
    unbroken, resumed = (BlockLocalClassifier(blobs_blocks()) for _ in range(2))
    trainer(3, **every_pass(tmp_path)).fit(unbroken, Blobs())
    trainer(3, **every_pass(tmp_path)).fit(resumed, Blobs(), ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True)
    assert_close(resumed.state_dict(), unbroken.state_dict(), rtol=0, atol=0)


def test_a_message_passing_head_learns_with_its_trunk():
    model = blobs_blocks(nn.Sequential(gbp.GBPLinear(8, 3, prior=gbp.Prior(scale=1.0))))
    classifier, run = BlockLocalClassifier(model, lr=0.02), trainer(6)
    run.fit(classifier, Blobs(size=96))
    passing = run.optimizers[-1]
    assert isinstance(passing, gbp.MessagePassing)
    assert passing.param_groups[0]["num_data"] == 96 and passing.param_groups[0]["epochs"] == 6
    assert passing.param_groups[0]["examples_seen"] == 6 * 96
    run.test(classifier, Blobs(), verbose=False)
    assert run.callback_metrics["test/accuracy"] > 0.9


def test_a_residual_trunk_with_a_message_passing_head_learns_the_digits():
    model = BlockResNet((1, 8, 8), depth=1, width=8, blocks=3, gbp_head=True)
    classifier, run = BlockLocalClassifier(model), trainer(2)
    run.fit(classifier, Digits(batch_size=32))
    (scores,) = run.test(classifier, Digits(), verbose=False)
    assert scores["test/accuracy"] > 0.8
    assert (model.blocks[-1][-1].weight_variance < 0.9 / model.blocks[-1][-1].weight.prior_precision).any()


def test_mixed_precision_with_one_loss_scale_is_refused():
    classifier = BlockLocalClassifier(blobs_blocks())
    run = trainer(1)
    run.strategy.precision_plugin.precision = "16-mixed"
    with pytest.raises(InvalidInput, match="16-mixed scales one loss"):
        run.fit(classifier, Blobs())


def test_bfloat16_activations_train_as_well():
    classifier = BlockLocalClassifier(blobs_blocks(), lr=0.02)
    run = trainer(6, precision="bf16-mixed")
    run.fit(classifier, Blobs(size=96))
    run.test(classifier, Blobs(), verbose=False)
    assert run.callback_metrics["test/accuracy"] > 0.9
    assert {value.dtype for value in classifier.state_dict().values()} == {torch.float32}


def test_the_command_line_trains_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning_modules"])
    small = ["--model.model.in_shape=[1, 8, 8]", "--model.model.depth=1", "--model.model.width=4", "--model.model.blocks=3"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.logger=false"]
    off = ["--trainer.accelerator=cpu", "--trainer.fast_dev_run=true"]
    arguments = [
        "fit",
        "--model=BlockLocalClassifier",
        "--model.model=lightning_modules.networks.BlockResNet",
        "--data=Digits",
        *small,
        *quiet,
        *off,
    ]
    fitted = main(arguments)
    assert [len(block) for block in fitted.model.model.blocks] == [2, 1, 2]


def test_the_committed_config_runs(tmp_path, monkeypatch):
    write_image_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning_modules"])
    small = ["--model.init_args.model.init_args.depth=1", "--model.init_args.model.init_args.width=4"]
    data = [f"--data.init_args.data_dir={tmp_path}", "--data.init_args.accept_altered=true"]
    quick = ["--trainer.accelerator=cpu", "--trainer.fast_dev_run=true", "--trainer.enable_model_summary=false"]
    fitted = main(["fit", f"--config={CONFIGS / 'block_local.yaml'}", *small, *data, *quick])
    assert fitted.model.lr == 0.005 and fitted.datamodule.crop == 4
    assert [len(block) for block in fitted.model.model.blocks] == [1, 1, 2, 1]


def test_the_config_of_resnet_50_builds_its_blocks_and_takes_a_step(tmp_path, monkeypatch):
    blocks = [list(dict(block.named_children())) for block in BlockResNet50(width=2).blocks]
    assert [len(block) for block in blocks] == [5, 4, 4, 5]  # four bottlenecks each, the stem and the head
    write_image_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning_modules"])
    small = ["--model.init_args.model.init_args.width=2", "--model.init_args.model.init_args.depths=[1, 1, 1, 1]"]
    data = [f"--data.init_args.data_dir={tmp_path}", "--data.init_args.accept_altered=true"]
    quick = ["--trainer.accelerator=cpu", "--trainer.fast_dev_run=true", "--trainer.enable_model_summary=false"]
    fitted = main(["fit", f"--config={CONFIGS / 'block_local_resnet50.yaml'}", *small, *data, *quick])
    assert fitted.trainer.global_step == 1 and fitted.trainer.precision == "bf16-mixed"
    assert [len(block) for block in fitted.model.model.blocks] == [2, 1, 1, 2]
