"""Block-local learning: blocks that do not fit, labels and inputs that are wrong, losses that are not finite."""

import copy

import pytest
import torch
from local_helpers import conv, images, network, sgd
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput
from torch_gbp.local import (
    BlockLocal,
    GradientFeedback,
    RidgeFeedback,
    heads_only,
    split_at,
    split_equally,
    variational,
)

FLAT = nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (2, -1)), nn.Flatten(0))
X = torch.zeros(2, 2, 8, 8)
BAD = {
    "one_block": (lambda: BlockLocal([conv(2, 4)], 3, X), r"needs two blocks or more.*Got: 1"),
    "no_chain": (
        lambda: BlockLocal([conv(2, 4), conv(5, 3)], 3, X),
        r"block 1 does not take.*output of block 0 of shape \(2, 4, 8, 8\)",
    ),
    "no_input": (
        lambda: BlockLocal([conv(3, 4), conv(4, 3)], 3, X),
        r"block 0 does not take.*Got: input of shape \(2, 2, 8, 8\)",
    ),
    "no_channels": (
        lambda: BlockLocal([FLAT, nn.Identity()], 3, X),
        r"output of block 0 has no channels.*Got: Tensor of shape \(256,\)",
    ),
    "gbp_inside": (
        lambda: BlockLocal([gbp.GBPLinear(4, 4), gbp.GBPLinear(4, 3)], 3, torch.zeros(2, 4)),
        r"output of block 0 has no channels.*Gaussian of shape \(2, 4\).*GBP layers into the last block",
    ),
    "gbp_and_plain": (
        lambda: BlockLocal([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), gbp.GBPLinear(4, 3))], 3, torch.zeros(2, 4)),
        r"block 1 has GBP layers and plain weights.*Got: 2 plain of 6 parameters",
    ),
    "labels_high": (
        lambda: network().step(X, torch.tensor([0, 3]), sgd(network())),
        r"labels must lie in 0 \.\.\. 2 \(in BlockLocal\)",
    ),
    "labels_low": (lambda: network().step(X, torch.tensor([0, -1]), sgd(network())), r"labels must lie in 0.*Got: -1 \.\.\. 0"),
    "labels_float": (lambda: network().step(X, torch.zeros(2), sgd(network())), r"labels must be integers \(in BlockLocal\)"),
    "labels_scalar": (lambda: network().step(X, torch.tensor(1), sgd(network())), r"labels of shape \(n,\)"),
    "labels_unnormalised": (
        lambda: network().step(X, torch.ones(2, 3), sgd(network())),
        "2 of 2 rows have probabilities that do not sum to 1",
    ),
    "label_count": (
        lambda: network().step(X, torch.zeros(3).long(), sgd(network())),
        r"Got: labels \(3,\), outputs \(2, 3\)",
    ),
    "optimizers": (
        lambda: network().step(X, torch.tensor([0, 1]), sgd(network())[:2]),
        r"one optimizer for each block.*Got: 2 optimizers, 3",
    ),
    "unknown_name": (lambda: split_at(nn.Sequential(nn.ReLU()), ["stage"]), r"names of children.*Got: \['stage'\] of \['0'\]"),
    "first_name": (lambda: split_at(nn.Sequential(nn.ReLU(), nn.ReLU()), ["0"]), r"after the first child.*Got: \['0'\]"),
    "name_order": (
        lambda: split_at(nn.Sequential(*(nn.ReLU() for _ in range(4))), ["2", "1"]),
        r"in their order.*Got: \['2', '1'\]",
    ),
    "too_many": (lambda: split_equally([nn.ReLU()], 2), r"at least one module.*Got: 2 blocks of 1 modules"),
    "no_blocks": (lambda: split_equally([nn.ReLU()], 0), r"count must be an integer, at least 1.*Got: 0"),
}


@pytest.mark.parametrize(("make", "text"), BAD.values(), ids=BAD)
def test_bad_input(make, text):
    with pytest.raises(InvalidInput, match=text) as raised:
        make()
    assert "Way out: " in str(raised.value)


@pytest.mark.parametrize("local_loss", [heads_only, variational])
def test_activations_that_are_not_finite_change_neither_their_block_nor_later_ones(local_loss):
    model, (x, y) = network(local_loss=local_loss), images()
    optimizers = sgd(model)
    with torch.no_grad():
        model.blocks[1][0].weight[0, 0, 0, 0] = torch.inf
    before = [copy.deepcopy(list(block.parameters())) for block in model.blocks]
    feedback = copy.deepcopy(model.losses[1].state_dict())
    text = "the local loss of block 1 is nan" if local_loss is heads_only else "the activations are NaN or Inf"
    with pytest.raises(InvalidInput, match=text):
        model.step(x, y, optimizers)
    kept = [all(map(torch.equal, block.parameters(), old)) for block, old in zip(model.blocks, before, strict=True)]
    assert kept == [False, True, True]
    if local_loss is variational:
        after = model.losses[1].state_dict()
        assert all(torch.equal(after[name], value) for name, value in feedback.items() if "feedback" in name)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_inputs_that_are_not_finite_change_nothing(value):
    model, (x, y) = network(), images()
    x[3, 1, 2, 2] = value
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InvalidInput, match=r"1 of 1536 input values are NaN or Inf \(in BlockLocal\)"):
        model.step(x, y, sgd(model))
    assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_integer_labels_of_any_width_train_every_block(dtype):
    network = BlockLocal([nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 3)], 3, torch.randn(4, 6))
    optimizers = [torch.optim.SGD(own, 0.1) for own in network.block_parameters()]
    assert len(network.step(torch.randn(10, 6), torch.randint(0, 3, (10,)).to(dtype), optimizers)) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("feedback", ["ridge", "gradient"])
def test_blocks_in_half_precision_learn_and_sums_of_feedback_stay_in_single(dtype, feedback):
    blocks = [nn.Sequential(nn.Linear(6, 8), nn.ReLU()).to(dtype), nn.Linear(8, 3).to(dtype)]
    kind = {"ridge": RidgeFeedback, "gradient": GradientFeedback}[feedback]

    def loss(shape, classes):
        return variational(shape, classes, feedback=kind)

    network = BlockLocal(blocks, 3, torch.randn(4, 6).to(dtype), local_loss=loss)
    optimizers = [torch.optim.SGD(own, 0.1) for own in network.block_parameters()]
    steps = network.step(torch.randn(10, 6).to(dtype), torch.randint(0, 3, (10,)), optimizers)
    assert all(bool(term.isfinite()) for step in steps for term in step.terms.values())
    assert all(own.dtype == torch.float32 for own in network.losses.buffers())
