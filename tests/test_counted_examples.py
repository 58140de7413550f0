"""How many examples a pass has: counted from the loader, given by hand, and warned of where the passes give more."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from lightning_helpers import IGNORED, trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler, TensorDataset

import torch_gbp as gbp
from lightning_modules import BlockLocalClassifier, GBPClassifier
from torch_gbp.batches import count_examples
from torch_gbp.errors import InvalidInput, Miscounted
from torch_gbp.local import BlockLocal

pytestmark = [
    *(pytest.mark.filterwarnings(text) for text in IGNORED),
    pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning"),
]
SENTENCES, TOKENS, CLASSES = 30, 5, 3


class Tagger(nn.Module):
    """A label for every token of a sentence: outputs (n * tokens, classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.head = nn.Linear(4, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inside(x).relu()).flatten(0, 1)


class Ready(Dataset):
    """Six items, each a batch of eight examples."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.randn(8, 4), torch.arange(8) % CLASSES


def tagger() -> nn.Module:
    torch.manual_seed(0)
    return gbp.from_torch(Tagger(), fresh=True)


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return gbp.from_torch(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CLASSES)), fresh=True)


def tokens_flattened(rows: Any) -> tuple[Tensor, Tensor]:
    x, y = zip(*rows, strict=True)
    return torch.stack(x), torch.stack(y).flatten()


def sentences(batch_size: int = 4) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SENTENCES, TOKENS, 4, generator=generator)
    return DataLoader(TensorDataset(x, (x[..., 0] > 0).long()), batch_size, collate_fn=tokens_flattened)


def test_items_that_are_batches_are_counted_by_their_targets() -> None:
    loader = DataLoader(Ready(), batch_size=None, shuffle=True)
    assert count_examples(loader) == 48
    run = gbp.Trainer(classifier(), gbp.Softmax(), epochs=3, progress=False)
    run.fit(loader)
    assert run.optimizer is not None and run.optimizer.param_groups[0]["num_data"] == 48
    assert run.optimizer.param_groups[0]["examples_seen"] == 3 * 48
    shared = DataLoader(Ready(), batch_size=None, sampler=DistributedSampler(Ready(), 2, 0))
    assert count_examples(shared) == 48  # of which it draws a half


@pytest.mark.parametrize("own", [False, True], ids=["torch's", "the loader's"])
def test_counting_draws_no_random_numbers(own: bool) -> None:
    generator = torch.Generator().manual_seed(3) if own else None
    sampler = RandomSampler(Ready(), generator=generator)
    loader = DataLoader(Ready(), batch_size=None, sampler=sampler, generator=generator)
    states = [torch.get_rng_state(), *([generator.get_state()] if generator else [])]
    count_examples(loader)
    after = [torch.get_rng_state(), *([generator.get_state()] if generator else [])]
    assert all(map(torch.equal, states, after))


def test_the_trainer_warns_once_that_a_pass_gives_more_than_was_counted() -> None:
    run = gbp.Trainer(tagger(), gbp.Softmax(), epochs=3, progress=False)
    with pytest.warns(Miscounted, match=r"Trainer\.fit.*num_data=30.*flattens.*pass num_data=") as found:
        run.fit(sentences())
    assert sum(one.category is Miscounted for one in found) == 1


@pytest.mark.parametrize("batch_size", [4, 8])  # 8 * TOKENS is more than there are sentences
def test_the_number_can_be_given_to_the_trainer(batch_size: int) -> None:
    run = gbp.Trainer(tagger(), gbp.Softmax(), epochs=3, progress=False, num_data=SENTENCES * TOKENS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Miscounted)
        run.fit(sentences(batch_size))
    assert run.optimizer is not None and run.optimizer.param_groups[0]["examples_seen"] == 3 * SENTENCES * TOKENS
    with pytest.raises(InvalidInput, match=r"num_data must be.*Got: 0"):
        gbp.Trainer(tagger(), gbp.Softmax(), num_data=0)


@pytest.mark.parametrize("cut", [1.0, 0.5], ids=["whole", "half"])
def test_lightning_counts_items_that_are_batches(cut: float) -> None:
    run = trainer(2, limit_train_batches=cut)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Miscounted)
        run.fit(GBPClassifier(classifier()), DataLoader(Ready(), batch_size=None))
    group = run.optimizers[0].param_groups[0]
    assert group["num_data"] == 48 * cut and group["examples_seen"] == 2 * 48 * cut


def test_lightning_warns_once_too_unless_the_number_is_given() -> None:
    with pytest.warns(Miscounted, match=r"GBPClassifier.*num_data=30") as found:
        trainer(3).fit(GBPClassifier(tagger()), sentences())
    assert sum(one.category is Miscounted for one in found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", Miscounted)
        trainer(3).fit(GBPClassifier(tagger(), num_data=SENTENCES * TOKENS), sentences())


def test_a_schedule_shorter_than_the_run_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Miscounted)
        trainer(4).fit(GBPClassifier(classifier(), epochs=2), DataLoader(Ready(), batch_size=None))


def test_the_number_can_be_given_to_blocks() -> None:
    torch.manual_seed(0)
    blocks = BlockLocal([nn.Linear(4, 6), gbp.GBPLinear(6, CLASSES)], CLASSES, torch.zeros(2, 4), end_loss=gbp.Softmax())
    run = trainer(1)
    run.fit(BlockLocalClassifier(blocks, num_data=77), DataLoader(Ready(), batch_size=None))
    assert run.optimizers[-1].param_groups[0]["num_data"] == 77


def test_a_network_of_several_outputs_for_an_input_has_no_ood_score() -> None:
    with pytest.raises(InvalidInput, match=r"OODScore.*8 inputs, 40 predictions.*tokens of a sequence"):
        gbp.OODScore(tagger(), gbp.Softmax(), sentences(8))
