"""Any torch network trained by the means sweep: processes, accumulation, resuming, compilation, checkpointing, half precision."""

import copy
import shutil

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.attached import marginals

SHARES = {"halves": (slice(0, None, 2), slice(1, None, 2)), "unequal": (slice(0, 9), slice(9, 12))}


class Fixed(gbp.Softmax):
    """Softmax whose drawn labels are a function of the outputs, so that they do not depend on who draws."""

    def probe(self, output, generator):
        p = output.softmax(1)
        return nn.functional.one_hot((output.detach().abs().sum(1) * 1e3).long() % output.shape[1], output.shape[1]) - p


def network(dtype=torch.float64):
    torch.manual_seed(0)
    lower = nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LayerNorm(20)
    return gbp.from_torch(nn.Sequential(*lower, nn.Linear(20, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype))


def data(n=12, dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(n, 5, dtype=dtype), torch.arange(n) % 3


def step(optimizer, likelihood, model, *batches, share=1.0):
    optimizer.zero_grad()
    for x, y in batches:
        (share * likelihood(model(x), y)).backward()
    optimizer.step()


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def worker(rank, folder, share):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    (x, y), model = data(), network()
    parallel = DistributedDataParallel(model)
    optimizer = gbp.configure_optimizers(model, num_data=12, epochs=3)
    part = SHARES[share][rank]
    for _ in range(3):
        step(optimizer, Fixed(), parallel, (x[part], y[part]))
    torch.save(state(model), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo")
@pytest.mark.parametrize("share", SHARES)
def test_two_processes_are_one_with_the_joined_batch(share, tmp_path):
    mp.spawn(worker, (str(tmp_path), share), nprocs=2)
    model = network()
    optimizer = gbp.configure_optimizers(model, num_data=12, epochs=3)
    for _ in range(3):
        step(optimizer, Fixed(), model, data())
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name in weights(model):
            assert_close(found[name], model.state_dict()[name], rtol=1e-6, atol=1e-8)


def sharding_worker(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=1)
    model = network()
    fully_shard(model)
    with pytest.raises(InvalidInput, match=r"sharded parameters.*DTensors.*DistributedDataParallel"):
        gbp.configure_optimizers(model, num_data=12)
    dist.destroy_process_group()


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo")
def test_sharded_parameters_are_named(tmp_path):
    mp.spawn(sharding_worker, (str(tmp_path),), nprocs=1)


def weights(model):
    """Names of the entries of marginals: plain parameters' gradients are averages over the processes, as everywhere in torch."""
    return [f"{name}{end}" for name in marginals(model) for end in ("", "_marginal.precision")]


@pytest.mark.parametrize("divided", [False, True], ids=["summed", "averaged"])
def test_accumulated_batches_are_the_joined_batch(divided):
    found, (x, y) = [], data()
    for parts in (1, 3):
        model = network()
        averaged = parts if divided else 1
        optimizer = gbp.configure_optimizers(model, num_data=12, epochs=3, accumulated=averaged)
        for _ in range(3):
            step(optimizer, Fixed(), model, *zip(x.chunk(parts), y.chunk(parts), strict=True), share=1 / averaged)
        found.append(state(model))
    assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)  # an average's gradients are small beside AdamW's eps


@pytest.mark.parametrize("store", [gbp.AveragedSites, gbp.Filtering])
def test_a_resumed_run_goes_on_bit_for_bit(store, tmp_path):
    (x, y), runs = data(), []
    model = network()
    optimizer = gbp.configure_optimizers(model, num_data=12, epochs=12, store=store())
    for _ in range(18):  # past the steps with a probe each
        step(optimizer, gbp.Softmax(power=1), model, (x[:6], y[:6]))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    other = network()
    other.load_state_dict(saved["model"])
    torch.manual_seed(99)
    resumed = gbp.configure_optimizers(other, num_data=12, epochs=12, store=store())
    resumed.load_state_dict(saved["optimizer"])
    for current, own in ((model, optimizer), (other, resumed)):
        for _ in range(6):
            step(own, gbp.Softmax(power=1), current, (x[6:], y[6:]))
        runs.append(state(current))
    assert_close(runs[0], runs[1], rtol=0, atol=0)


def test_a_copy_trains_on_its_own():
    model = network()
    twin = copy.deepcopy(model)
    before = state(model)
    optimizer = gbp.configure_optimizers(twin, num_data=12)
    step(optimizer, gbp.Softmax(), twin, data())
    assert_close(state(model), before, rtol=0, atol=0)
    assert all(not torch.equal(own.mean, before[name]) for name, own in marginals(twin).items())


class Checkpointed(nn.Module):
    def __init__(self, body, reentrant=False):
        super().__init__()
        self.body, self.reentrant = body, reentrant

    def forward(self, x):
        if self.reentrant:
            x = x.requires_grad_()
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


def test_activation_checkpointing_changes_nothing():
    found = []
    for wrap in (lambda body: body, Checkpointed):
        model = network()
        optimizer = gbp.configure_optimizers(model, num_data=12, epochs=3)
        for _ in range(3):
            step(optimizer, Fixed(), wrap(model), data())
        found.append(state(model))
    assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)


def test_reentrant_checkpointing_is_named():
    model = network()
    optimizer = gbp.configure_optimizers(model, num_data=12)
    with pytest.raises(InvalidInput, match=r"no probe has reached.*use_reentrant=True"):
        step(optimizer, Fixed(), Checkpointed(model, reentrant=True), data())


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
def test_compiled_networks_train_as_eager_ones():
    found = []
    for wrap in (lambda body: body, lambda body: torch.compile(body, fullgraph=True)):
        model = network(torch.float32)
        optimizer = gbp.configure_optimizers(model, num_data=12, epochs=3)
        compiled = wrap(model)
        for _ in range(3):
            step(optimizer, gbp.Softmax(), compiled, data(dtype=torch.float32))
        found.append(state(model))
    for name, value in found[0].items():
        assert_close(found[1][name], value, rtol=1e-3, atol=1e-4)


def test_half_precision_forward_keeps_marginals_in_single():
    model = network(torch.float32)
    optimizer = gbp.configure_optimizers(model, num_data=12, epochs=3)
    for _ in range(3):
        optimizer.zero_grad()
        x, y = data(dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(x)
            loss = gbp.Softmax()(output, y)
        assert output.dtype == torch.bfloat16 and loss.dtype == torch.float32
        loss.backward()
        optimizer.step()
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_plain_gradients_that_are_not_finite_stop_the_step():
    model = network()
    optimizer = gbp.configure_optimizers(model, num_data=12)
    x, y = data()
    gbp.Softmax()(model(x), y).backward()
    model[4].weight.grad[0] = torch.nan
    before = state(model)
    with pytest.raises(gbp.errors.ImproperMarginal, match="gradients of plain parameters are NaN"):
        optimizer.step()
    assert_close(state(model), before, rtol=0, atol=0)


def test_iterated_inference_wants_layers_that_carry_moments():
    model = network()
    optimizer = gbp.configure_optimizers(model, num_data=12)
    with pytest.raises(InvalidInput, match="layers carry moments"):
        gbp.Inference(iterations=3, damping=0.5)(model, gbp.Softmax(), optimizer, *data())


def test_frozen_weights_stay():
    model = network()
    model[1].requires_grad_(False)
    optimizer = gbp.configure_optimizers(model, num_data=12)
    before = state(model)
    step(optimizer, gbp.Softmax(), model, data())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("1.") for name in changed)
    assert {"4.weight", "5.weight", "5.weight_marginal.precision", "7.weight"} <= changed
