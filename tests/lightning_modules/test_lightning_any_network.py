"""Any torch network with marginals under Lightning's automatic optimisation: precision, accumulation, resuming, processes."""

import copy

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning_helpers import IGNORED, Blobs, trainer
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import torch_gbp as gbp
from lightning_modules import Digits, GBPClassifier, GBPRegressor
from torch_gbp.errors import InvalidInput

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


class Fixed(gbp.Softmax):
    """Softmax whose drawn labels are a function of the outputs, so that they do not depend on who draws."""

    def probe(self, output, generator):
        p = output.softmax(1)
        return nn.functional.one_hot((output.detach().abs().sum(1) * 1e3).long() % output.shape[1], output.shape[1]) - p


def network(norm=nn.LayerNorm, seed=0):
    torch.manual_seed(seed)
    return gbp.from_torch(nn.Sequential(nn.Linear(2, 8), norm(8), nn.Tanh(), nn.Linear(8, 3)), fresh=True)


def pairs(dtype=torch.float32):
    x, y = Blobs().make_parts().train.tensors
    return TensorDataset(x.to(dtype), y)


def test_half_precision_trains_to_the_accuracy_of_single():
    scores = {}
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        layers = nn.Flatten(), nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10)
        module = GBPClassifier(gbp.from_torch(nn.Sequential(*layers), fresh=True))
        run, data = trainer(4, precision=precision), Digits(batch_size=16)
        run.fit(module, data)
        assert {value.dtype for value in module.model.state_dict().values()} == {torch.float32}
        scores[precision] = run.test(module, data, verbose=False)[0]
    single, half = scores.values()
    assert single["test/accuracy"] > 0.93
    assert half["test/accuracy"] > single["test/accuracy"] - 0.007  # 3 of 500 digits; over five seeds .0004 apart on average
    assert half["test/nll"] < single["test/nll"] + 0.01


def test_accumulated_batches_are_the_joined_batch():
    found = []
    for batch_size, accumulate in ((8, 2), (16, 1)):
        module = GBPClassifier(network().double(), Fixed())
        trainer(2, accumulate_grad_batches=accumulate).fit(module, DataLoader(pairs(torch.float64), batch_size=batch_size))
        found.append(module.model.state_dict())
    for name, value in found[0].items():
        assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)  # AdamW's eps is of sums here, of averages there


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_run_equals_the_unbroken_one(tmp_path):
    """Generator of probes and statistics of BatchNorm included."""
    whole = GBPClassifier(network(nn.BatchNorm1d), epochs=4)
    torch.manual_seed(5)
    trainer(4).fit(whole, Blobs())
    first, begun = trainer(2), GBPClassifier(network(nn.BatchNorm1d), epochs=4)
    torch.manual_seed(5)
    first.fit(begun, Blobs())
    first.save_checkpoint(tmp_path / "half.ckpt")
    second = GBPClassifier(network(nn.BatchNorm1d, seed=9), epochs=4)
    torch.manual_seed(77)
    trainer(4).fit(second, Blobs(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert_close(second.state_dict(), whole.state_dict(), rtol=0, atol=0)
    loaded = GBPClassifier.load_from_checkpoint(tmp_path / "half.ckpt", model=network(nn.BatchNorm1d, seed=3), weights_only=True)
    x = torch.randn(4, 2)
    torch.manual_seed(0)
    before = gbp.predict(first.lightning_module.model, gbp.Softmax(), x).probs
    assert_close(gbp.predict(loaded.model, gbp.Softmax(), x).probs, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_clip_val": 1.0}, "clipping would change score and precision"),
        ({"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]}, r"in GBPModule.*16-mixed.*bf16-mixed"),
    ],
    ids=["clipping", "float16"],
)
def test_what_a_message_does_not_survive_is_refused_before_the_first_step(options, message):
    module = GBPClassifier(network())
    before = copy.deepcopy(module.model.state_dict())
    with pytest.raises(InvalidInput, match=message):
        trainer(1, **options).fit(module, Blobs())
    assert_close(module.model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("make", [GBPClassifier, GBPRegressor])
def test_a_torch_network_is_offered_its_conversion(make):
    with pytest.raises(InvalidInput, match=rf"no marginals to train \(in {make.__name__}\).*Sequential of 4 plain.*from_torch"):
        make(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)))


def headed(head):
    """A frozen backbone with BatchNorm, in evaluation mode, and a head that learns."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(2, 16), nn.Tanh()).requires_grad_(False)
    return nn.Sequential(backbone, head)


@pytest.mark.parametrize("head", ["moments", "means", "last_layer"])
@pytest.mark.parametrize("way", ["lightning", "trainer"])
def test_a_head_learns_on_a_frozen_backbone(head, way):
    model = headed(gbp.GBPLinear(16, 3) if head == "moments" else nn.Linear(16, 3))
    model = {"moments": lambda m: m, "means": gbp.from_torch, "last_layer": gbp.last_layer}[head](model)
    before = copy.deepcopy(model.state_dict())
    loader = DataLoader(pairs(), batch_size=8, shuffle=True)
    if way == "trainer":
        gbp.Trainer(model, gbp.Softmax(), epochs=15, progress=False).fit(loader)
    else:
        trainer(15).fit(GBPClassifier(model), loader)
    assert gbp.Trainer(model, gbp.Softmax(), epochs=1, progress=False).evaluate(loader).accuracy > 0.85  # chance 1/3
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and not any(name.startswith("0.0.") for name in changed)


@pytest.mark.parametrize("sweep", ["means", "moments"])
def test_the_evidence_of_training_is_shown(sweep):
    class Watched(GBPClassifier):
        def on_train_batch_start(self, batch, batch_idx):
            with torch.no_grad(), gbp.means_sweep() if sweep == "means" else torch.no_grad():
                expected.append(-float(gbp.Softmax()(self.model(batch[0]), batch[1])) / len(y))

    torch.manual_seed(0)
    module = Watched(nn.Sequential(gbp.GBPLinear(2, 8), gbp.GBPReLU(), gbp.GBPLinear(8, 3)), sweep=sweep)
    run, expected = trainer(1), []
    _, y = pairs().tensors
    run.fit(module, DataLoader(pairs(), batch_size=len(y)))
    assert float(run.callback_metrics["train/evidence"]) == pytest.approx(expected[0], rel=1e-5)  # one batch, before its step


class Watched(GBPClassifier):
    """Keeps the running means that validations see."""

    def on_validation_epoch_start(self):
        super().on_validation_epoch_start()
        self.seen = [*getattr(self, "seen", []), self.model[1].running_mean.clone()]


@pytest.mark.parametrize("way", ["lightning", "trainer"])
def test_statistics_of_batch_norm_are_those_of_the_settled_means(way):
    """In Lightning before the last validation too."""
    model, (x, _), loader = network(nn.BatchNorm1d), pairs().tensors, DataLoader(pairs(), batch_size=12)
    if way == "trainer":
        gbp.Trainer(model, gbp.Softmax(), epochs=3, progress=False).fit(loader, loader)
    else:
        module = Watched(model)
        trainer(3, limit_val_batches=1.0, num_sanity_val_steps=0).fit(module, loader, loader)
        assert_close(module.seen[-1], model[1].running_mean, rtol=0, atol=0)
        assert len(module.seen) == 3 and (module.seen[1] - module.seen[2]).abs().max() > 1e-3
    assert_close(model[1].running_mean, model[0](x).mean(0), rtol=1e-5, atol=1e-6)


class InOrder(GBPClassifier):
    """Batches of 16 in order, shared out among the processes."""

    def train_dataloader(self):
        data, world = pairs(torch.float64), self.trainer.world_size
        return DataLoader(data, 16 // world, sampler=DistributedSampler(data, world, self.global_rank, shuffle=False))

    def teardown(self, stage):
        """Ends the group: a process that leaves while gloo's threads run may be aborted."""
        super().teardown(stage)
        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo")
@pytest.mark.filterwarnings("ignore")  # Lightning's advice about processes
def test_two_processes_are_one_with_the_joined_batch():
    found = []
    for options in ({"strategy": "ddp_spawn", "devices": 2}, {}):
        module = InOrder(network().double(), Fixed())
        trainer(2, use_distributed_sampler=False, **options).fit(module)
        found.append(module.model.state_dict())
    for name, value in found[0].items():
        assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)  # AdamW's eps, as above


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo")
@pytest.mark.filterwarnings("ignore")  # Lightning's advice about processes
def test_statistics_of_batch_norm_are_those_of_all_processes():
    model, (x, _) = network(nn.BatchNorm1d).double(), pairs(torch.float64).tensors
    trainer(1, use_distributed_sampler=False, strategy="ddp_spawn", devices=2).fit(InOrder(model, Fixed()))
    assert_close(model[1].running_mean, model[0](x).mean(0), rtol=1e-10, atol=1e-12)
