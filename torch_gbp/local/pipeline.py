"""Pipelined training: one process for each block, all of them at work at once, each on a batch of its own.

While block k learns from a batch, block k - 1 learns from the next one. No block needs anything from a later one, so
none waits for a backward pass to come round, and nothing is stale: every block sees the same batches, made by the same
weights, as in the sequential loop, and ends at the same weights.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.local.block_local import BlockLocal
from torch_gbp.local.kept import KeptBytes

Batches = Iterable[tuple[Tensor, Tensor]]
HEADER = 8  # numbers sent ahead of a batch: how many classes its labels have (0 for integers), then its shape
AHEAD = 2  # batches that may wait for the next block to take them


class StageReport(NamedTuple):
    """What the process of one block did.

    block: its number; batches: how many it learnt from; terms: the terms of its loss, mean over the batches; seconds: from
    the first batch asked for to the last one learnt; idle_seconds: those of them in which it waited for other blocks;
    kept_bytes: what its first batch kept in memory for the backward pass.
    """

    block: int
    batches: int
    terms: dict[str, float]
    seconds: float
    idle_seconds: float
    kept_bytes: int


class Stage:
    """Block k of a `BlockLocal` in the process of rank k, after `torch.distributed.init_process_group`.

    Every process makes the same `BlockLocal` (from one seed or checkpoint) and an optimizer for its own block, and calls
    `run`; only the first needs the batches. Tensors travel on the blocks' device: gloo on CPU, nccl on GPUs::

        stage = Stage(network, torch.optim.SGD(network.block_parameters()[dist.get_rank()], 0.1))
        report = stage.run(loader if dist.get_rank() == 0 else None)
        share(network)  # now every process has the whole trained network

    Where blocks draw random numbers (dropout), each process draws its own, so the result is another than in one process.
    Activations arrive contiguous (not channels_last), which may change the last bits.

    Args:
        network: all blocks; only the process's own is trained.
        optimizer: over the own block's `block_parameters`.
        scheduler: of torch, stepped after every batch.

    Raises:
        InvalidInput: another number of processes than blocks.
    """

    def __init__(self, network: BlockLocal, optimizer: Any, scheduler: Any = None) -> None:
        self.network, self.optimizer, self.scheduler = network, optimizer, scheduler
        self.block, self.last = dist.get_rank(), dist.get_world_size() - 1
        if self.last + 1 != len(network.blocks):
            raise InvalidInput(
                "one process for each block is needed",
                where="Stage",
                got=f"{self.last + 1} processes, {len(network.blocks)} blocks",
                fix="start as many processes as there are blocks, or split the network into as many blocks",
            )

    def run(self, batches: Batches | None = None) -> StageReport:
        """Learns from all batches: the first block from those given, the others from what the block before sends.

        Raises:
            InvalidInput: the first block without batches, labels that are no classes, a loss that is not finite.
        """
        self._idle, self._kept, self._waiting = 0.0, 0, deque[Any]()
        sums: dict[str, Tensor] = {}
        count, start = 0, time.perf_counter()
        for count, (x, y) in enumerate(self._incoming(batches), 1):
            for name, term in self._train(x, y, first=count == 1).items():
                sums[name] = sums.get(name, 0.0) + term
        self._send(None, None)
        self._settle(0)
        means = {name: float(total) / count for name, total in sums.items()}
        return StageReport(self.block, count, means, time.perf_counter() - start, self._idle, self._kept)

    def _train(self, x: Tensor, y: Tensor, first: bool) -> dict[str, Tensor]:
        self.network.check(x, y)
        with KeptBytes(self.network.parameters()) if first else nullcontext() as kept:
            output, terms = self.network.local_terms(self.block, x, y)
        if kept is not None:
            self._kept = kept.bytes
        self._send(output, y)  # before the backward pass: the next block begins while this one learns
        terms = self.network.learn(self.block, terms, self.optimizer)
        if self.scheduler is not None:
            self.scheduler.step()
        return terms

    def _incoming(self, batches: Batches | None) -> Iterator[tuple[Tensor, Tensor]]:
        if self.block > 0:
            yield from iter(self._receive, None)
        elif batches is None:
            raise InvalidInput(
                "the first block needs the batches", where="Stage.run", fix="pass the loader in the process of rank 0"
            )
        else:
            like = next(self.network.parameters())
            yield from ((x.to(like.device), y.to(like.device)) for x, y in batches)

    def _receive(self) -> tuple[Tensor, Tensor] | None:
        """The next batch of the block before, None after the last."""
        like = self.network.outputs[self.block - 1]
        header = self._wait_for(torch.empty(HEADER, dtype=torch.long, device=like.device)).tolist()
        classes, shape = header[0], [size for size in header[1:] if size]
        if not shape:
            return None
        x = self._wait_for(torch.empty(shape, dtype=like.dtype, device=like.device))
        labels = (
            torch.empty(shape[0], classes, device=like.device) if classes else torch.empty(shape[0], device=like.device).long()
        )
        return x, self._wait_for(labels)

    def _send(self, output: Any, y: Tensor | None) -> None:
        """Sends a batch on, None after the last; the tensors are kept until they are gone."""
        if self.block == self.last:
            return
        own = self.network.outputs[self.block]
        header = torch.zeros(HEADER, dtype=torch.long, device=own.device)
        parts = [header]
        if y is not None:
            header[: 1 + output.ndim] = torch.tensor([y.shape[1] if y.ndim == 2 else 0, *output.shape])
            parts += [output.detach().contiguous(), y.float() if y.is_floating_point() else y.long()]
        self._settle(3 * AHEAD)
        self._waiting.extend((dist.isend(part, self.block + 1), part) for part in parts)

    def _settle(self, left: int) -> None:
        """Waits until at most `left` sent tensors are still on their way."""
        while len(self._waiting) > left:
            self._timed(self._waiting.popleft()[0].wait)

    def _wait_for(self, place: Tensor) -> Tensor:
        self._timed(lambda: dist.recv(place, self.block - 1))
        return place

    def _timed(self, wait: Callable[[], object]) -> None:
        start = time.perf_counter()
        wait()
        self._idle += time.perf_counter() - start


@torch.no_grad()
def share(network: BlockLocal) -> None:
    """Gives every process all blocks, and their local losses, as the processes that trained them have them."""
    for rank, block in enumerate(network.blocks):
        own = [block, *network.losses[rank : rank + 1]]
        for tensor in [tensor for module in own for tensor in module.state_dict(keep_vars=True).values()]:
            dist.broadcast(tensor.data, src=rank)
