"""Block-local learning: what a block learns depends on no later block; splitting, training, saving."""

import copy

import pytest
import torch
from helpers import three_classes
from local_helpers import CLASSES, conv, images, network, sgd
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.local import (
    BlockLocal,
    GradientFeedback,
    KeptBytes,
    heads_only,
    linear_head,
    similarity_matching,
    split_at,
    split_equally,
    variational,
)


def gradients(model, x, y):
    """Every block's gradients on one batch, from the weights as they are."""
    for k in range(len(model.blocks)):
        output, terms = model.local_terms(k, x, y)
        sum(terms.values()).backward()
        x = output.detach()
    return [[p.grad for p in parameters] for parameters in model.block_parameters()]


LOSSES = {
    "variational": variational,
    "heads_only": heads_only,
    "similarity": similarity_matching,
    "gradient_feedback": lambda *boundary: variational(*boundary, feedback=GradientFeedback, head=linear_head),
    "no_head": lambda *boundary: variational(*boundary, head=None),
}


@pytest.mark.parametrize("later", [1, 2])
@pytest.mark.parametrize("local_loss", LOSSES.values(), ids=LOSSES)
def test_no_gradient_crosses_a_boundary(local_loss, later):
    model, (x, y) = network(local_loss=local_loss), images()
    x.requires_grad_()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.blocks[later].parameters():
            parameter.add_(torch.randn_like(parameter))
    found, perturbed = gradients(model, x, y), gradients(other, x, y)
    assert x.grad is None
    for k in range(later):
        assert all(torch.equal(one, two) for one, two in zip(found[k], perturbed[k], strict=True) if one is not None)
        assert any(one is not None and one.abs().max() > 0 for one in found[k])
    assert any(not torch.equal(one, two) for one, two in zip(found[later], perturbed[later], strict=True))


def test_heads_and_gradient_feedback_take_part_in_learning():
    """The heads of the released code get no gradient; here all that `block_parameters` lists does."""
    model, (x, y) = network(local_loss=LOSSES["gradient_feedback"]), images()
    assert {id(p) for own in model.block_parameters() for p in own} == {id(p) for p in model.parameters()}
    for found in gradients(model, x, y):
        assert all(gradient is not None and gradient.abs().max() > 0 for gradient in found)


def test_the_sum_of_local_losses_trains_as_the_blocks_do_one_by_one():
    model, (x, y) = network(), images()
    other = copy.deepcopy(model)
    for optimizer in (optimizers := sgd(model)):
        optimizer.zero_grad()
    total, activations = 0.0, x
    for k in range(3):
        output, terms = model.local_terms(k, activations, y)
        total, activations = total + sum(terms.values()), output  # not detached: local_terms does it
    total.backward()
    for optimizer in optimizers:
        optimizer.step()
    other.step(x, y, sgd(other))
    assert_close(model.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("local_loss", LOSSES.values(), ids=LOSSES)
def test_it_learns(local_loss):
    x, y = three_classes(120, 6)
    blocks = split_equally([nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, CLASSES)], 2)
    model = BlockLocal(blocks, CLASSES, x[:2], local_loss=local_loss)
    optimizers = sgd(model)
    for _ in range(60):
        model.train().step(x, y, optimizers)
    assert (model.eval()(x).argmax(1) == y).double().mean() > 0.95


def test_smoothed_labels_are_labels():
    model, (x, y) = network(), images()
    other = copy.deepcopy(model)
    hard, soft = model.step(x, y, sgd(model)), other.step(x, nn.functional.one_hot(y, CLASSES).float(), sgd(other))
    for one, two in zip(hard, soft, strict=True):
        assert_close(one.terms, two.terms)


def test_saved_and_loaded_it_goes_on_bit_for_bit(tmp_path):
    model, (x, y) = network(), images()
    optimizers = sgd(model)
    model.step(x, y, optimizers)
    torch.save([model.state_dict(), *(each.state_dict() for each in optimizers)], tmp_path / "half.pt")
    model.step(x, y, optimizers)
    resumed = network()
    again = sgd(resumed)
    state, *states = torch.load(tmp_path / "half.pt", weights_only=True)
    resumed.load_state_dict(state)
    for optimizer, its in zip(again, states, strict=True):
        optimizer.load_state_dict(its)
    resumed.step(x, y, again)
    assert_close(resumed.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_a_message_passing_head_is_trained_together_with_its_trunk():
    x, y = three_classes(120, 6)
    trunk, head = nn.Sequential(nn.Linear(6, 16), nn.ReLU()), nn.Sequential(gbp.GBPLinear(16, 3, prior=gbp.Prior(scale=1.0)))
    model = BlockLocal([trunk, head], CLASSES, x[:2], end_loss=gbp.Softmax())
    own, last = model.block_parameters()
    optimizers = [torch.optim.SGD(own, 0.05, momentum=0.9), gbp.MessagePassing(last, num_data=120, epochs=20)]
    before = trunk[0].weight.detach().clone(), head[0].weight_variance.clone()
    for _ in range(20):
        for part in torch.randperm(120).split(20):
            steps = model.step(x[part], y[part], optimizers)
    output = model(x)
    assert (gbp.Softmax().predictive(output).probs.argmax(1) == y).double().mean() > 0.95
    assert not torch.equal(trunk[0].weight, before[0])
    assert (head[0].weight_variance < before[1]).all()
    assert sorted(steps[-1].terms) == ["end"] and isinstance(steps[-1].output, gbp.Gaussian)


def test_example_leaves_the_blocks_as_they_were():
    blocks = [conv(2, 4).train(), conv(4, 3).eval()]
    before = copy.deepcopy([block.state_dict() for block in blocks])
    BlockLocal([*blocks, nn.Flatten()], CLASSES, images()[0])
    assert_close([block.state_dict() for block in blocks], before, rtol=0, atol=0)
    assert blocks[0][1].training and not blocks[1][1].training


def test_double_precision_reaches_the_local_losses():
    model = BlockLocal([nn.Linear(4, 3).double(), nn.Linear(3, 2).double()], 2, torch.zeros(2, 4).double())
    steps = model.step(torch.randn(5, 4).double(), torch.tensor([0, 1, 1, 0, 1]), sgd(model))
    assert {term.dtype for step in steps for term in step.terms.values()} == {torch.float64}


def test_kept_bytes_count_every_storage_once_and_no_weights():
    layer, x = nn.Linear(4, 4, bias=False), torch.randn(8, 4)
    with KeptBytes(layer.parameters()) as kept:
        h = layer(x)
        total = layer(h).sum() + h.view(-1).square().sum() + h[:4].square().sum()
    assert total.requires_grad and kept.bytes == 2 * 8 * 4 * 4  # x and h


def test_blocks_share_the_networks_weights_and_keep_its_order():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 2)
    for blocks in (split_at(net, ["1", "4"]), split_equally(net, 3), split_equally(list(net), 5), split_equally(net, 1)):
        assert torch.equal(nn.Sequential(*blocks)(x), net(x))
        assert [p for block in blocks for p in block.parameters()] == list(net.parameters())
    assert [len(block) for block in split_at(net, ["1", "4"])] == [1, 3, 1]
    assert [[len(block) for block in split_equally(net, count)] for count in (2, 3, 4)] == [[2, 3], [2, 1, 2], [1, 1, 2, 1]]
