"""Two gloo processes under DistributedDataParallel give the marginals of one process with the joined batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from helpers import marginals, mlp, sweep, three_classes
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from torch_gbp import MessagePassing, Regression, Softmax

STEPS = 3


def train(model, x, y, network=None):
    propagate = MessagePassing(model.parameters(), 60, epochs=3)
    for _ in range(STEPS):
        sweep(propagate, network or model, Softmax(), x, y)
    return propagate.param_groups[0]["examples_seen"]


def learn_noise(model, x, network=None):
    """The noise variance after a few steps of a regression on the inputs themselves."""
    likelihood = Regression(1.0, learn_noise=True).double()
    propagate = MessagePassing(model.parameters(), 120)
    for _ in range(STEPS):
        sweep(propagate, network or model, likelihood, x, 3 * x)
    return likelihood.noise_variance


def worker(rank, folder):
    """One process: its half of the batch, the same start as everybody's."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    task = torch.load(f"{folder}/task.pt")
    model = mlp().double()
    model.load_state_dict(task["model"])
    half = slice(rank, None, 2)
    seen = train(model, task["x"][half], task["y"][half], DistributedDataParallel(model))
    found = {"model": marginals(model), "seen": seen}
    found["noise"] = learn_noise(model, task["x"][half], DistributedDataParallel(model))
    torch.save(found, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo")
def test_two_processes_are_one_with_the_joined_batch(tmp_path):
    model = mlp().double()
    x, y = three_classes()
    x = x.double()
    torch.save({"model": model.state_dict(), "x": x, "y": y}, tmp_path / "task.pt")
    mp.spawn(worker, (str(tmp_path),), nprocs=2)
    seen = train(model, x, y)
    trained = marginals(model)
    noise = learn_noise(model, x)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        assert_close(found["model"], trained, rtol=1e-10, atol=1e-10)
        assert_close(found["noise"], noise, rtol=1e-10, atol=0)
        assert noise != 1.0
        assert found["seen"] == seen == 60 * STEPS
