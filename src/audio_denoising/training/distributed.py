"""Several processes that train one model: how they meet, and add up what they found.

`torchrun` starts the processes and tells each its rank by environment variables. Every process has
the whole model, computes its share of every batch, and adds its gradients to those of the others,
so that all make the same step. Started without torchrun there is one process, and nothing to add.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from audio_denoising.errors import UserError
from audio_denoising.nn import Parameter
from audio_denoising.training.options import Processes
from audio_denoising.training.run_folder import restarts

BUCKET = 1 << 20  # gradients (4 MB) that travel together


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, connected inside the `with` block.

    Tensors in main memory travel by gloo, those of NVIDIA GPUs by NCCL.
    """
    count = int(os.environ["WORLD_SIZE"])
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
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name


def add_up(values: Sequence[float]) -> list[float]:
    """Every value added up over all processes, see `Processes.sum`."""
    totals = torch.tensor(values, dtype=torch.float64)
    with _company():
        dist.all_reduce(totals)
    return totals.tolist()


def mean_over_processes(tensor: Tensor) -> Tensor:
    """The mean of a tensor that every process has, in place, see `BatchNorm`.

    Raises:
        UserError: another process is gone.
    """
    with _company():
        dist.all_reduce(tensor)
    return tensor.div_(dist.get_world_size())


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
        pending: list[Parameter] = []
        for parameter in reversed(parameters):
            pending.append(parameter)
            size = sum(p.data.numel() for p in pending)
            if size >= BUCKET or parameter is parameters[0]:
                self.buckets.append(_Bucket(pending))
                pending = []

    def start(self) -> None:
        """From here on every gradient that arrives is complete."""
        for bucket in self.buckets:
            bucket.missing = len(bucket.parameters)
            for parameter in bucket.parameters:
                parameter.on_gradient = bucket.arrived

    def finish(self) -> None:
        """Waits until all gradients are the mean over the processes.

        Raises:
            UserError: another process is gone.
        """
        for bucket in self.buckets:
            with _company():
                bucket.receive(self.processes.count)


class _Bucket:
    """Some parameters, and one flat tensor in which their gradients travel."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = parameters
        self.missing = len(parameters)
        tensors = [parameter.data for parameter in parameters]
        sizes = [tensor.numel() for tensor in tensors]
        self.flat = tensors[0].new_empty(sum(sizes))
        self.views = [  # in the layout of each parameter
            part.as_strided(tensor.shape, tensor.stride(), part.storage_offset())
            for part, tensor in zip(self.flat.split(sizes), tensors, strict=True)
        ]
        self.work: dist.Work | None = None

    def arrived(self, parameter: Parameter) -> None:
        """Sends the bucket off with its last gradient."""
        parameter.on_gradient = None
        self.missing -= 1
        if not self.missing:
            torch._foreach_copy_(self.views, [p.grad for p in self.parameters])
            with _company():
                self.work = dist.all_reduce(self.flat, async_op=True)

    def receive(self, count: int) -> None:
        """Takes the sum over all processes for the mean."""
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
