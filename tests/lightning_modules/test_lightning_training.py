"""Training through Lightning: the same messages as by hand, whatever the trainer does to loss and loaders."""

import csv

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loggers import CSVLogger
from lightning_helpers import IGNORED, Blobs, trainer
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import torch_gbp as gbp
from lightning_modules import AdamWClassifier, Calibrate, GBPClassifier, LearnPriors
from torch_gbp.errors import ImproperMarginal, InvalidInput

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


def network(prior_scale=1.0):
    torch.manual_seed(3)
    layers = (
        gbp.GBPLinear(2, 5, prior=gbp.Prior(scale=prior_scale)),
        gbp.GBPLeakyReLU(0.1),
        gbp.GBPLinear(5, 3, prior=gbp.Prior(scale=prior_scale)),
    )
    return nn.Sequential(*layers)


def assert_same(first, second, **tolerance):
    torch.testing.assert_close(first.state_dict(), second.state_dict(), **tolerance)


def test_lightning_takes_the_steps_of_a_loop_by_hand():
    data = Blobs()
    module = GBPClassifier(network(), gbp.Softmax(4.0), lr=0.3)
    trainer(3).fit(module, data)
    model, likelihood = network(), gbp.Softmax(4.0)
    propagate = gbp.MessagePassing(model.parameters(), num_data=48, lr=0.3, epochs=3)
    loader = data.train_dataloader()
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        for x, y in loader:
            propagate.zero_grad()
            likelihood(model(x), y).backward()
            propagate.step()
    assert_same(module.model, model, atol=0, rtol=0)
    assert model[0].weight.precision.mean() > 2 * model[0].weight.prior_precision  # something was learnt


def test_accumulating_two_batches_is_one_batch_of_twice_the_size(float64):
    def fit(batch_size, accumulate):
        x, y = Blobs().make_parts().train.tensors
        pairs = torch.utils.data.TensorDataset(x.double(), y)
        module = GBPClassifier(network().double(), gbp.Softmax(4.0), num_data=None)
        trainer(2, accumulate_grad_batches=accumulate).fit(module, DataLoader(pairs, batch_size=batch_size))  # in order
        return module.model

    assert_same(fit(8, accumulate=2), fit(16, accumulate=1), atol=1e-13, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:When using `Trainer")  # that optimizer_step is not called on every batch
@pytest.mark.parametrize("schedule", [{0: 4}, {0: 1, 1: 4}], ids=["from the first pass", "from the second"])
def test_batches_accumulated_by_a_callback_count_in_full(schedule, float64):
    """Six batches in windows of four: the last one of a pass has two."""
    data = Blobs().make_parts().train.tensors
    pairs = torch.utils.data.TensorDataset(data[0].double(), data[1])
    module = GBPClassifier(network().double(), gbp.Softmax(4.0))
    trainer(2, callbacks=[GradientAccumulationScheduler(schedule)]).fit(module, DataLoader(pairs, batch_size=8))
    model, likelihood = network().double(), gbp.Softmax(4.0)
    propagate = gbp.MessagePassing(model.parameters(), num_data=48, epochs=2)
    for size in (32 if schedule[0] == 4 else 8, 32):
        for x, y in DataLoader(pairs, batch_size=size):
            propagate.zero_grad()
            likelihood(model(x), y).backward()
            propagate.step()
    assert_same(module.model, model, atol=1e-13, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:When using `Trainer")
def test_batch_sites_refuse_batches_accumulated_by_a_callback():
    module = GBPClassifier(network(), store=gbp.BatchSites())
    with pytest.raises(InvalidInput, match=r"one site per batch.*= 2"):
        trainer(2, callbacks=[GradientAccumulationScheduler({1: 2})]).fit(module, Blobs(fixed_batches=True))


@pytest.mark.parametrize(
    ("options", "data", "expected"),
    [
        ({}, {}, 48),
        ({"limit_train_batches": 2}, {}, 16),
        ({"limit_train_batches": 0.5}, {}, 24),
        ({"limit_train_batches": 100}, {}, 48),
        ({}, {"fixed_batches": True, "batch_size": 10}, 48),
        ({"limit_train_batches": 3}, {"fixed_batches": True, "batch_size": 10}, 30),
        ({"limit_train_batches": 5}, {"batch_size": 10}, 48),  # the last batch is smaller
    ],
)
def test_training_examples_are_counted(options, data, expected):
    module = GBPClassifier(network())
    run = trainer(1, **options)
    run.fit(module, Blobs(**data))
    assert run.optimizers[0].param_groups[0]["num_data"] == expected
    assert run.optimizers[0].param_groups[0]["examples_seen"] <= expected


def test_number_of_examples_can_be_given():
    module = GBPClassifier(network(), num_data=500)
    run = trainer(1)
    run.fit(module, Blobs())
    assert run.optimizers[0].param_groups[0]["num_data"] == 500


@pytest.mark.parametrize(
    ("options", "passes"),
    [({"max_epochs": 3}, 3), ({"max_epochs": -1, "max_steps": 12}, 2.0), ({"max_epochs": 1, "max_steps": 60}, 1)],
)
def test_schedule_ends_where_the_trainer_does(options, passes):
    module = GBPClassifier(network())
    run = trainer(options.pop("max_epochs"), **options)
    run.fit(module, Blobs())
    assert run.optimizers[0].param_groups[0]["epochs"] == passes


class Settled(lightning.Callback):
    """After which steps the means lie at their average: seen as validation sees it."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, run, module, outputs, batch, batch_idx):
        mean = module.model[0].weight.mean
        if run.global_step >= 8 and torch.equal(mean, run.optimizers[0].state[mean]["average"]):
            self.steps.append(run.global_step)


@pytest.mark.parametrize(
    ("options", "epochs", "last"),
    [
        ({"epochs": 4}, None, 16),
        ({"epochs": 4, "accumulate_grad_batches": 2}, None, 8),
        ({"epochs": 9, "max_steps": 11}, None, 11),
        ({"epochs": 5}, 3, 12),  # the schedule is shorter than the run
        ({"epochs": 3}, 6, None),  # and longer: to be resumed
    ],
    ids=["passes", "accumulated", "steps", "short_schedule", "long_schedule"],
)
@pytest.mark.parametrize("drop_last", [False, True], ids=["last_smaller", "rest_dropped"])
def test_the_means_settle_once_at_the_last_step(options, epochs, last, drop_last):
    x, y = Blobs().make_parts().train.tensors
    pairs = torch.utils.data.TensorDataset(x, y)
    loader = DataLoader(pairs, batch_size=10 if drop_last else 13, drop_last=drop_last)  # four batches each
    module = GBPClassifier(network(), epochs=epochs, store=gbp.AveragedSites(tail=0.9))
    seen = Settled()
    trainer(callbacks=[seen], **options).fit(module, loader)
    assert seen.steps == ([] if last is None else [last])


def test_a_single_pass_that_drops_examples_settles_too():
    x, y = Blobs().make_parts().train.tensors
    loader = DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=5, drop_last=True)
    module = GBPClassifier(network(), store=gbp.AveragedSites(tail=0.9))
    seen = Settled()
    trainer(1, callbacks=[seen]).fit(module, loader)
    assert seen.steps == [9]


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.ones(2), 0)])


def test_stream_needs_num_data():
    with pytest.raises(InvalidInput, match=r"stream of examples cannot be counted.*num_data="):
        trainer(1).fit(GBPClassifier(network()), DataLoader(Stream(), batch_size=1))


def test_clipping_is_refused():
    with pytest.raises(InvalidInput, match=r"clipping.*gradient_clip_val=1\.0"):
        trainer(1, gradient_clip_val=1.0).fit(GBPClassifier(network()), Blobs())


def test_torch_scheduler_drives_the_rate():
    class Stepped(GBPClassifier):
        def configure_optimizers(self):
            optimizer = self.message_passing(scheduled=False)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    class Rates(lightning.Callback):
        def on_train_epoch_end(self, run, module):
            seen.append(run.optimizers[0].report.rate)

    seen = []
    trainer(3, callbacks=[Rates()], log_every_n_steps=1).fit(Stepped(network(), lr=0.2), Blobs())
    assert seen == pytest.approx([0.2, 0.1, 0.05])


def test_progress_and_step_reports_are_logged(tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    module = GBPClassifier(network(), gbp.Softmax(8.0))
    run = trainer(4, logger=logger, log_every_n_steps=2)
    run.fit(module, Blobs())
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    evidence = [float(row["train/evidence_epoch"]) for row in rows if row["train/evidence_epoch"]]
    assert len(evidence) == 4 and evidence[-1] > evidence[0]
    steps = [row for row in rows if row["step/step"]]
    assert [float(row["step/step"]) for row in steps] == [1 + 2 * i for i in range(12)]
    for name in ("evidence", "rate", "largest_change", "lowest_precision", "highest_precision", "examples"):
        assert all(float(row[f"step/{name}"]) == float(row[f"step/{name}"]) for row in steps)
    assert "train/evidence_step" in run.progress_bar_metrics


def test_batch_sites_equal_the_core_trainer():
    data = Blobs(fixed_batches=True)
    data.setup()
    batches = data.train_dataloader().dataset
    in_order = DataLoader(batches, batch_size=None)
    module = GBPClassifier(network(), gbp.Softmax(1.0), store=gbp.BatchSites())
    trainer(3).fit(module, in_order)
    model = network()
    gbp.Trainer(model, gbp.Softmax(1.0), epochs=3, store=gbp.BatchSites(), progress=False).fit(in_order)
    assert_same(module.model, model, atol=0, rtol=0)


def test_priors_are_learned_as_by_the_core_trainer():
    data = Blobs(fixed_batches=True)
    data.setup()
    in_order = DataLoader(data.train_dataloader().dataset, batch_size=None)
    module = GBPClassifier(network(), gbp.Softmax(1.0), store=gbp.BatchSites())
    trainer(3, callbacks=[LearnPriors()]).fit(module, in_order)
    model = network()
    gbp.Trainer(model, gbp.Softmax(1.0), epochs=3, store=gbp.BatchSites(), learn_priors=True, progress=False).fit(in_order)
    assert_same(module.model, model, atol=0, rtol=0)
    assert not torch.equal(model[0].weight.prior_precision, network()[0].weight.prior_precision)


def test_the_callback_calibrates_by_the_validation_examples():
    """Validation labels shuffled: nothing the network says of them is right, so predictions have to be wide or soft."""
    data = Blobs()
    data.setup()
    loader = data.train_dataloader()
    x, y = (torch.stack([row[part] for row in loader.dataset]) for part in (0, 1))
    wrong = DataLoader(torch.utils.data.TensorDataset(x, y.roll(7)), batch_size=16)
    module = GBPClassifier(network(), gbp.Softmax())
    trainer(3, callbacks=[Calibrate()], limit_val_batches=1.0).fit(module, loader, wrong)
    expected = gbp.Softmax()
    found = gbp.calibrate(module.model, expected, wrong)
    assert found == (float(module.likelihood.variance_factor), float(module.likelihood.temperature))
    assert found.variance_factor > 4 and found.temperature > 3
    module.likelihood.variance_factor.fill_(3.0)
    trainer(3, callbacks=[Calibrate()], limit_val_batches=1.0).validate(module, wrong)  # nothing is chosen outside of a fit
    assert float(module.likelihood.variance_factor) == 3.0
    with pytest.raises(InvalidInput, match="AdamWClassifier"):
        trainer(1, callbacks=[Calibrate()], limit_val_batches=1.0).fit(AdamWClassifier(nn.Linear(2, 3)), loader, wrong)
    with pytest.raises(InvalidInput, match="validation loader"):
        trainer(1, callbacks=[Calibrate()], limit_val_batches=1.0).fit(module, loader, [wrong, wrong])


def test_failed_step_leaves_the_marginals_of_batch_sites():
    class Breaks(GBPClassifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if self.global_step == 8:  # second pass: the batch's site has been divided out
                kept.update(outside)
                raise RuntimeError("lost")
            return loss

    class Watch(lightning.Callback):
        def on_train_batch_start(self, run, module, batch, batch_idx):  # called before the module's own hook
            outside.update({name: value.clone() for name, value in module.model.state_dict().items()})

    outside, kept = {}, {}
    module = Breaks(network(), gbp.Softmax(1.0), store=gbp.BatchSites())
    with pytest.raises(RuntimeError, match="lost"):
        trainer(3, callbacks=[Watch()]).fit(module, Blobs(fixed_batches=True))
    torch.testing.assert_close(dict(module.model.state_dict()), kept, atol=0, rtol=0)


def test_messages_that_are_not_finite_stop_the_run():
    class Wild(GBPClassifier):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * float("nan")

    module = Wild(network(), store=gbp.AveragedSites(anneal=False))
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    with pytest.raises(ImproperMarginal, match=r"layer '0\.weight', step 1"):
        trainer(1).fit(module, Blobs())
    torch.testing.assert_close(dict(module.model.state_dict()), before, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "fixed", "message"),
    [
        ({"accumulate_grad_batches": 2}, True, "one site per batch.*= 2"),
        ({}, False, "BatchSites needs to know which batch"),
    ],
)
def test_batch_sites_want_whole_fixed_batches(options, fixed, message):
    module = GBPClassifier(network(), store=gbp.BatchSites())
    with pytest.raises(InvalidInput, match=message):
        trainer(1, **options).fit(module, Blobs(fixed_batches=fixed))
