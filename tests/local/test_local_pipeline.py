"""One process per block gives the weights of the sequential loop, bit for bit."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.testing import assert_close

from torch_gbp.errors import InvalidInput
from torch_gbp.local import BlockLocal, GradientFeedback, Stage, linear_head, share, split_equally, variational

CLASSES, PASSES = 3, (False, True)  # labels as they are, then smoothed


def network(blocks=2):
    """A network with batch norm, feedback by gradient and heads: parameters and buffers on both sides of the boundary."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.Flatten()]
    modules = [*layers, nn.Linear(5 * 4 * 4, CLASSES)]
    return BlockLocal(split_equally(modules, blocks), CLASSES, torch.zeros(2, 2, 8, 8), local_loss=local_loss).double()


def local_loss(shape, classes):
    return variational(shape, classes, feedback=GradientFeedback, head=linear_head)


def batches(smooth):
    """Six batches, the last one smaller."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(44, 2, 8, 8, generator=generator).double(), torch.arange(44) % CLASSES
    targets = nn.functional.one_hot(y, CLASSES) * 0.9 + 0.1 / CLASSES if smooth else y
    return list(zip(x.split(8), targets.split(8), strict=True))


def optimizer(model, block):
    made = torch.optim.SGD(model.block_parameters()[block], 0.05, momentum=0.9)
    return made, torch.optim.lr_scheduler.StepLR(made, 4)


def worker(rank, folder):
    """One process: its own block, then everybody's weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = network()
    stage = Stage(model, *optimizer(model, rank))
    reports = [stage.run(batches(smooth) if rank == 0 else None)._asdict() for smooth in PASSES]
    share(model)
    with pytest.raises(InvalidInput, match=r"one process for each block is needed.*Got: 2 processes, 3 blocks"):
        Stage(network(3), None)
    torch.save({"model": model.state_dict(), "reports": reports}, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo")
def test_pipelined_is_sequential(tmp_path):
    mp.spawn(worker, (str(tmp_path),), nprocs=2)
    model = network()
    made = [optimizer(model, block) for block in range(2)]
    means = []
    for smooth in PASSES:
        terms = []
        for x, y in batches(smooth):
            steps = model.step(x, y, [each for each, _ in made])
            terms.append({name: float(term) for step in steps for name, term in step.terms.items()})
            for _, scheduler in made:
                scheduler.step()
        means.append({name: sum(each[name] for each in terms) / 6 for name in terms[0]})
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        assert_close(found["model"], model.state_dict(), rtol=0, atol=0)
        for report, mean in zip(found["reports"], means, strict=True):
            assert (report["block"], report["batches"]) == (rank, 6)
            assert sorted(report["terms"]) == [["feedback", "prediction"], ["end"]][rank]
            assert all(abs(value - mean[name]) < 1e-9 for name, value in report["terms"].items())
            assert 0 <= report["idle_seconds"] <= report["seconds"]
            assert report["kept_bytes"] > 8 * 8 * [2 * 64, 4 * 36][rank]  # float64, batch of 8, at least the input


def test_the_first_block_asks_for_its_batches(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = network()
        model.blocks = model.blocks[:1]  # a pipeline of one process
        with pytest.raises(InvalidInput, match="the first block needs the batches"):
            Stage(model, None).run()
    finally:
        dist.destroy_process_group()
