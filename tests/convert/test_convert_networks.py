"""from_torch on networks as they are: predictions kept, one step, saved and loaded, copied, moved, named."""

import copy
import io
import os

import pytest
import torch
from network_cases import CLASSES, FULL, HAND, VISION
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.weights.attached import marginals, plain_parameters

NETWORKS = HAND | VISION


SMALL = (*HAND, "mobilenet_v2", "VisionTransformer", "SwinTransformer")


@pytest.fixture(params=NETWORKS)
def case(request):
    """How to make a network, one, and its inputs."""
    make, inputs = NETWORKS[request.param]
    return make, make().eval(), inputs()


small = pytest.mark.parametrize("case", SMALL, indirect=True)


def optimizer_of(model):
    return gbp.configure_optimizers(model, num_data=8, epochs=2)


def step(model, x, optimizer=None, seed=0):
    """One step of a hand-written loop; what was there before, by name."""
    torch.manual_seed(seed)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = optimizer or optimizer_of(model)
    model.train()
    optimizer.zero_grad()
    gbp.Softmax()(model(x), torch.arange(len(x)) % CLASSES).backward()
    optimizer.step()
    model.eval()
    return before


def saved(model):
    """A state of a network or an optimizer as it comes back from a file."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def check(plain, x):
    """A conversion that keeps the predictions and leaves the original alone, and its optimizer, after a step."""
    with torch.no_grad():
        expected = plain(x)
    made = gbp.from_torch(plain)
    with torch.no_grad():
        assert torch.equal(made(x), expected)
    assert not marginals(plain) and {id(p) for p in made.parameters()}.isdisjoint(map(id, plain.parameters()))
    optimizer = optimizer_of(made)
    check_step(made, step(made, x, optimizer))
    return made, optimizer


def check_step(made, before):
    """Weights moved where a message came, no precision fell below the prior's, and plain parameters moved too."""
    after, found = made.state_dict(), marginals(made)
    moved = [name for name in found if not torch.equal(after[name], before[name])]
    assert len(moved) > 0.9 * len(found)
    for name, own in found.items():
        assert bool((own.precision >= own.prior_precision * (1 - 1e-5)).all()), name
    plain = [name for name, _ in plain_parameters(made)]
    assert all(after[name].isfinite().all() for name in plain)
    assert not plain or sum(not torch.equal(after[name], before[name]) for name in plain) > 0.5 * len(plain)


def test_any_network_trains_and_goes_on_from_files(case):
    make, plain, x = case
    made, optimizer = check(plain, x)
    again = gbp.from_torch(make(), fresh=True).eval()
    again.load_state_dict(saved(made))
    with torch.no_grad():
        assert torch.equal(again(x), made(x))
    assert_equal(again, made)
    other = optimizer_of(again)
    other.load_state_dict(saved(optimizer))
    step(made, x, optimizer, seed=1), step(again, x, other, seed=1)
    assert_equal(again, made)


def assert_equal(one, other):
    """The same numbers, bit for bit."""
    assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


@small
def test_it_is_copied_and_moved_to_double_precision(case):
    _, plain, x = case
    made = gbp.from_torch(plain)
    twin = copy.deepcopy(made)
    assert all(one is not other for one, other in zip(made.parameters(), twin.parameters(), strict=True))
    assert all(own.mean is dict(twin.named_parameters())[name] for name, own in marginals(twin).items())
    before = {name: value.clone() for name, value in made.state_dict().items()}
    step(twin, x)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    double = made.to(torch.float64)
    assert {value.dtype for value in double.state_dict().values() if value.is_floating_point()} == {torch.float64}
    assert all(own.fresh() for own in marginals(double).values())
    x = x.double() if x.is_floating_point() else x
    check_step(double, step(double, x))


@small
def test_on_the_meta_device_it_is_made_and_gets_its_numbers_later(case):
    make, plain, x = case
    made = gbp.from_torch(plain)
    step(made, x)
    with torch.device("meta"):
        shape = make().eval()
    filled = gbp.from_torch(shape).to_empty(device="cpu")
    assert all(own.fresh() for own in marginals(filled).values())
    filled.load_state_dict(saved(made))
    assert_close(filled(x), made(x), rtol=0, atol=0)
    assigned = gbp.from_torch(shape)
    tied = len({id(p) for p in shape.parameters()}) < len(list(shape.named_parameters(remove_duplicate=False)))
    assigned.load_state_dict(saved(made), assign=True)
    if not tied:  # torch itself unties what it assigns
        buffers = [name for name, value in assigned.named_buffers() if value.is_meta]
        assert not buffers, buffers
        assert_close(assigned(x), made(x), rtol=0, atol=0)
        check_step(assigned, step(assigned, x))


def test_the_summary_names_every_parameter_once(case):
    _, plain, _ = case
    made = gbp.from_torch(plain)
    found = gbp.summary(made)
    rows = (*found.gaussian, *found.plain, *found.frozen)
    assert sorted(row.name for row in rows) == sorted(name for name, _ in made.named_parameters())
    every = {name for row in rows for name in (row.name, *row.others)}
    assert every == {name for name, _ in made.named_parameters(remove_duplicate=False)}
    assert all(str(found).count(f"\n  {row.name}  ") == 1 for row in rows)


@pytest.mark.skipif("HEAVY" not in os.environ, reason="10 s and gigabytes each; HEAVY=1 runs them")
@pytest.mark.parametrize("name", FULL)
def test_the_large_ones_of_torchvision_as_they_are(name):
    make, inputs = FULL[name]
    check(make().eval(), inputs())
