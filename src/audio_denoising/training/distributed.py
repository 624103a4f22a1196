"""Several processes that train one model: who they are, and how they add up what they found.

`torchrun` starts the processes and tells each its rank by environment variables. Every process has
the whole model, computes its share of every batch, and adds its gradients to those of the others,
so that all make the same step. Started without torchrun there is one process, and nothing to add.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from audio_denoising.errors import UserError
from audio_denoising.nn import Parameter
from audio_denoising.training.run_folder import restarts

BUCKET = 1 << 20  # gradients (4 MB) that travel together


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: which one this is, from 0. count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and talks to people."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Every value added up over all processes, in double precision.

        Raises:
            UserError: another process is gone.
        """
        if self.count == 1:
            return list(values)
        totals = torch.tensor(values, dtype=torch.float64)
        with _company():
            dist.all_reduce(totals)
        return totals.tolist()

    def share(self, batch_size: int) -> int:
        """How many mixtures of a batch are this process's.

        Raises:
            UserError: the batch cannot be divided evenly.
        """
        if batch_size % self.count:
            raise UserError(
                f"--batch-size {batch_size} cannot be divided among {self.count} processes: "
                f"choose a multiple of {self.count}"
            )
        return batch_size // self.count


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, connected inside the `with` block; else this one alone.

    Tensors in main memory travel by gloo, those of NVIDIA GPUs by NCCL.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    store, rank, _ = next(dist.rendezvous("env://"))
    if os.environ.get("LOCAL_WORLD_SIZE") == str(count):
        # `torchrun --standalone` keeps one store for all its starts, with addresses of the dead.
        store = dist.PrefixStore(f"start {restarts()}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        yield Processes(rank, count)
    finally:
        dist.destroy_process_group()


def local_device(name: str) -> str:
    """The name of the device for this process: of several GPUs each local rank takes its own."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or not (name == "cuda" or (name == "auto" and torch.cuda.is_available())):
        return name
    return f"cuda:{local}"


class GradientMean:
    """Averages gradients over processes while the backward pass is still under way.

    The parameters are packed into buckets, those first that the backward pass reaches first (the
    last layers'). As soon as all gradients of a bucket are there it starts travelling, and the
    layers before go on computing: Li et al., "PyTorch Distributed", VLDB 2020 (arXiv:2006.15704),
    section 3.2.

    Use: `start()` before the backward pass that completes the gradients, `finish()` after it.
    """

    def __init__(self, parameters: Sequence[Parameter], processes: Processes) -> None:
        self.processes = processes
        self.buckets: list[_Bucket] = []
        if processes.count == 1:
            return
        pending: list[Parameter] = []
        for parameter in reversed(parameters):
            pending.append(parameter)
            if sum(p.data.numel() for p in pending) >= BUCKET:
                self.buckets.append(_Bucket(pending))
                pending = []
        if pending:
            self.buckets.append(_Bucket(pending))
        self._bucket_of = {id(p): bucket for bucket in self.buckets for p in bucket.parameters}

    def start(self) -> None:
        """From here on every gradient that arrives is complete."""
        for bucket in self.buckets:
            bucket.missing = len(bucket.parameters)
            for parameter in bucket.parameters:
                parameter.on_gradient = self._arrived

    def finish(self) -> None:
        """Waits until all gradients are the mean over the processes.

        Raises:
            UserError: another process is gone.
        """
        for bucket in self.buckets:
            with _company():
                bucket.receive(self.processes.count)

    def _arrived(self, parameter: Parameter) -> None:
        parameter.on_gradient = None
        bucket = self._bucket_of[id(parameter)]
        bucket.missing -= 1
        if not bucket.missing:
            with _company():
                bucket.send()


class _Bucket:
    """Some parameters, and one flat tensor in which their gradients travel."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = list(parameters)
        self.missing = len(self.parameters)
        first = self.parameters[0].data
        self.flat = first.new_empty(sum(p.data.numel() for p in self.parameters))
        self.views: list[Tensor] = []
        offset = 0
        for parameter in self.parameters:
            data = parameter.data
            self.views.append(self.flat.as_strided(data.shape, data.stride(), offset))
            offset += data.numel()
        self.work: dist.Work | None = None

    def send(self) -> None:
        torch._foreach_copy_(self.views, [p.grad for p in self.parameters])
        self.work = dist.all_reduce(self.flat, async_op=True)

    def receive(self, count: int) -> None:
        assert self.work is not None, "finish needs a whole backward pass after start"
        self.work.wait()
        self.work = None
        self.flat /= count
        torch._foreach_copy_([p.grad for p in self.parameters], self.views)


@contextmanager
def _company() -> Iterator[None]:
    """Turns the many errors of a lost connection into one sentence."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            "another process of this run is gone, its own message says why: start the run again "
            "with --resume"
        ) from error
