"""Two gloo processes under DistributedDataParallel give the marginals of one process with the joined batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from helpers import marginals, mlp, sweep, three_classes
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from torch_gbp import MessagePassing, Regression, Softmax
from torch_gbp.errors import InvalidInput

STEPS = 3
SHARES = {  # which of the 60 examples each of the two processes has
    "halves": (slice(0, None, 2), slice(1, None, 2)),
    "unequal": (slice(0, 45), slice(45, 60)),
}
pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo"
)


def train(model, x, y, network=None):
    """Examples seen, and the last report."""
    propagate = MessagePassing(model.parameters(), 60, epochs=3, report_every=1)
    for _ in range(STEPS):
        sweep(propagate, network or model, Softmax(), x, y)
    return propagate.param_groups[0]["examples_seen"], tuple(propagate.report)


def learn_noise(model, x, network=None):
    """The noise variance after a few steps of a regression on the inputs themselves, two sweeps to a step."""
    likelihood = Regression(1.0, learn_noise=True).double()
    propagate = MessagePassing(model.parameters(), 120)
    for _ in range(STEPS):
        propagate.zero_grad()
        likelihood((network or model)(x), 3 * x).backward()
        likelihood((network or model)(-x), 2 * x).backward()
        propagate.step()
    return likelihood.noise_variance


def worker(rank, folder, share):
    """One process: its part of the batch, the same start as everybody's."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    task = torch.load(f"{folder}/task.pt")
    model = mlp().double()
    model.load_state_dict(task["model"])
    x, y = (part[SHARES[share][rank]] for part in (task["x"], task["y"]))
    network = DistributedDataParallel(model)
    with pytest.raises(InvalidInput, match=r"'module\.0\.weight\.mean' must be finite"):
        network.load_state_dict({f"module.{name}": value / 0 for name, value in task["model"].items()})
    network.load_state_dict({f"module.{name}": value for name, value in task["model"].items()})
    seen, report = train(model, x, y, network)
    found = {"model": marginals(model), "seen": seen, "report": report}
    found["noise"] = learn_noise(model, x, DistributedDataParallel(model))
    torch.save(found | {"after": marginals(model)}, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("share", SHARES)
def test_two_processes_are_one_with_the_joined_batch(share, tmp_path):
    model = mlp().double()
    x, y = three_classes()
    x = x.double()
    torch.save({"model": model.state_dict(), "x": x, "y": y}, tmp_path / "task.pt")
    mp.spawn(worker, (str(tmp_path), share), nprocs=2)
    seen, report = train(model, x, y)
    trained = marginals(model)
    noise = learn_noise(model, x)
    assert noise != 1.0 and seen == 60 * STEPS
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        assert_close(found["model"], trained, rtol=1e-10, atol=1e-10)
        assert_close(found["report"], report, rtol=1e-6, atol=1e-6)
        assert_close(found["noise"], noise, rtol=1e-10, atol=0)
        assert_close(found["after"], marginals(model), rtol=1e-10, atol=1e-10)
        assert found["seen"] == seen
