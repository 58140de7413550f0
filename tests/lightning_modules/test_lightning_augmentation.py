"""Training on augmented images and on smoothed labels, by message passing and by AdamW."""

import pytest
import torch
import torch.nn.functional as F
from lightning_helpers import IGNORED, Blobs, trainer

import torch_gbp as gbp
from lightning_modules import AdamWClassifier, Digits, GBPClassifier
from lightning_modules.data.augmentation import smoothed
from lightning_modules.data.loading import TensorPairs, evaluation_loader
from lightning_modules.networks import MLP
from torch_gbp.errors import InvalidInput

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


class SoftBlobs(Blobs):
    """Blobs whose training targets are probabilities."""

    def __init__(self, amount, **options):
        super().__init__(**options)
        self.amount = amount

    def make_parts(self):
        parts = super().make_parts()
        x, y = parts.train.tensors
        return parts._replace(train=TensorPairs(x, smoothed(y, 3, self.amount)))


def classifier(name, **options):
    """A small network, always with the same start."""
    torch.manual_seed(2)
    return GBPClassifier(MLP(2, (8,), 3), **options) if name == "gbp" else AdamWClassifier(MLP(2, (8,), 3, gbp=False), lr=0.05)


@pytest.mark.parametrize("name", ["gbp", "adamw"])
def test_certain_probabilities_teach_what_labels_teach(name):
    soft, hard = classifier(name), classifier(name)
    trainer(3).fit(soft, SoftBlobs(0.0))
    trainer(3).fit(hard, Blobs())
    torch.testing.assert_close(soft.state_dict(), hard.state_dict(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["gbp", "adamw"])
def test_smoothed_labels_lower_the_confidence(name):
    data, confidence = Blobs(), []
    data.setup()
    x, y = data.parts.test.tensors
    for amount in (0.0, 0.5):
        module = classifier(name)
        trainer(20).fit(module, SoftBlobs(amount))
        probabilities = module.log_probabilities(x).exp().detach()
        confidence.append(float(probabilities.max(1).values.mean()))
        assert (probabilities.argmax(1) == y).double().mean() > 0.9
    assert confidence[1] < confidence[0] - 0.1


def test_adamw_logs_the_cross_entropy_of_torch():
    module, run = classifier("adamw"), trainer(1)
    data = SoftBlobs(0.3, batch_size=48)
    data.setup()
    x, y = data.parts.train.tensors
    with torch.no_grad():  # the loss before the first step: there is one batch
        expected = F.cross_entropy(module(x), y.argmax(1), label_smoothing=0.3)
    run.fit(module, data)
    assert float(run.callback_metrics["train/loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_a_smoothed_training_set_can_be_tested():
    module, scores = classifier("gbp"), []
    for data in (SoftBlobs(0.3), Blobs()):
        data.setup()
        scores += trainer(1).test(module, evaluation_loader(data.parts.train), verbose=False)
    assert scores[0] == scores[1]


def test_batch_sites_take_smoothed_labels_but_no_augmentation():
    trainer(2).fit(classifier("gbp", store=gbp.BatchSites()), SoftBlobs(0.2, fixed_batches=True))
    augmented = Digits(fixed_batches=True, crop=1)
    with pytest.raises(InvalidInput, match="fixed batches must hold the same inputs"):
        trainer(1).fit(GBPClassifier(MLP(64, (8,), 10), store=gbp.BatchSites()), augmented)


@pytest.mark.parametrize("name", ["gbp", "adamw"])
def test_augmented_digits_are_learnt(name):
    module = GBPClassifier(MLP(64, (32,))) if name == "gbp" else AdamWClassifier(MLP(64, (32,), gbp=False), lr=0.01)
    run = trainer(6, limit_val_batches=1.0)
    run.fit(module, Digits(batch_size=16, crop=1, label_smoothing=0.05))
    assert run.callback_metrics["val/accuracy"] > 0.8  # chance 0.1
