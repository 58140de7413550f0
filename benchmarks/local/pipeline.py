"""The pipeline: one process for each block, its time, idle time and memory beside the same blocks in one process."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from benchmarks.local.methods import BLOCKS, CLASSES, RATE, WEIGHT_DECAY
from benchmarks.local.nets import Case, asked_cases, asked_plan
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import SUBSET_SEED, Split, limited, load
from lightning_modules.block_local_classifier import BETAS
from torch_gbp.local import BlockLocal, Stage, StageReport, share, split_equally

LIMIT = 2048  # images, in batches of the network's plan


def run(request: Request) -> Result:
    """One pass in one process and one in a process per block, from the same weights, on every network of the call."""
    request = request._replace(limit=request.limit or LIMIT)
    settings = {"cpus": os.cpu_count(), "lr": RATE, "betas": BETAS, "weight_decay": WEIGHT_DECAY, "subset_seed": SUBSET_SEED}
    return Result(settings, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name, case in asked_cases(request).items():
        plan, seed = asked_plan(case, request), request.seeds[0]
        split = limited(load(case.task, request), plan.limit)
        told = {"net": name, "data": case.data, "blocks": BLOCKS, "limit": len(split.x), "epochs": 1, "seed": seed}
        yield from _compared(told, case, split, plan.batch)


def _compared(told: Row, case: Case, split: Split, batch: int) -> Iterator[Row]:
    """A row for the loop, one for each process, and how far the weights of the two are apart."""
    torch.manual_seed(told["seed"])
    network = make_blocks(case.net.make(), split.x[:2])
    with tempfile.TemporaryDirectory() as folder:
        # Not forked: a fork of a process with threads may hang. The clocks of the processes start after their imports.
        start_processes(_worker, (folder, copy.deepcopy(network), split, batch), nprocs=BLOCKS, start_method="forkserver")
        found: list[tuple[StageReport, dict[str, Tensor]]] = [
            torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(BLOCKS)
        ]
    seconds = loop(network, split, batch)
    state = network.state_dict()
    apart = max(float((value - state[name]).abs().max()) for _, states in found for name, value in states.items())
    say(told, f"one process {seconds:.1f} s, pipelined {found[-1][0].seconds:.1f} s, weights {apart:.3g} apart")
    yield {"method": "one process", **told, "train_seconds": seconds}
    for report, _ in found:
        measured = {"train_seconds": report.seconds, "idle_share": report.idle_seconds / report.seconds}
        yield {"method": f"block {report.block}", **told, **measured, "activation_mb": report.kept_bytes / 1e6, "apart": apart}


def make_blocks(network: nn.Module, example: Tensor) -> BlockLocal:
    """The network of the comparison in its blocks."""
    assert isinstance(network, nn.Sequential)
    return BlockLocal(split_equally(network, BLOCKS), CLASSES, example)


def loop(network: BlockLocal, split: Split, batch: int) -> float:
    """Seconds of one pass in this process."""
    optimizers = [_optimizer(network, k) for k in range(BLOCKS)]
    start = time.perf_counter()
    for x, y in _batches(split, batch):
        network.step(x, y, optimizers)
    return time.perf_counter() - start


def _worker(rank: int, folder: str, network: BlockLocal, split: Split, batch: int) -> None:
    """One process: learns its block, gets the others."""
    torch.set_num_threads(1)
    network = copy.deepcopy(network)  # what comes here lies in memory that all processes share
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=BLOCKS)
    report = Stage(network, _optimizer(network, rank)).run(_batches(split, batch) if rank == 0 else None)
    share(network)
    torch.save((report, network.state_dict()), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def _batches(split: Split, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(split.x.split(batch), split.y.split(batch), strict=True)


def _optimizer(network: BlockLocal, k: int) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.block_parameters()[k], RATE, BETAS, weight_decay=WEIGHT_DECAY)
