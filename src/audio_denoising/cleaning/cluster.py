"""Recordings cleaned by the workers of a Ray cluster, or of a Ray that is started here for it.

Every recording is a task of its own. Its outputs are made in a temporary folder of the worker and
published when they are complete, so that a worker may be lost at any moment: Ray gives its task to
another one, and a run that was stopped goes on with what is missing.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.cleaning.jobs import Job
from audio_denoising.cleaning.places import TransferError
from audio_denoising.cleaning.settings import Settings
from audio_denoising.cleaning.tasks import Task
from audio_denoising.errors import UserError, told

if TYPE_CHECKING:
    from audio_denoising.cleaning.denoiser import Denoiser
    from audio_denoising.cleaning.recording import Report

Load = Callable[[], "Denoiser"]
"""Makes a worker's network; travels to it."""

_RETRIES = 3  # for a lost worker, and for storage that fails
_MOST_WAITING = 1000  # tasks handed to Ray at once
_OBJECT_STORE = 256 * 2**20  # bytes of memory for what tasks exchange: the weights, little else
_PATIENCE = 10.0  # seconds for a cluster to answer
_FAREWELL = 10.0  # seconds for the workers to put things away after an early end


@dataclass(frozen=True)
class Result:
    """How it went with one task.

    Attributes:
        task: which.
        report: as the worker gives it; its ``output`` is the worker's own copy, gone by now.
        sentence: what the user should know of a failure; empty if there is none.
    """

    task: Task
    report: Report | None = None
    sentence: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is no output, or one of a damaged input."""
        return bool(self.sentence)


@dataclass(frozen=True)
class Loader:
    """Loads the network on a worker, which may lack the file of the weights.

    Args:
        settings: of the run.
        weights: content of the checkpoint file, or None for weights that come with the package.
    """

    settings: Settings
    weights: bytes | None

    @classmethod
    def of(cls, settings: Settings) -> Loader:
        """Takes the weights along, once they are known to be good.

        Raises:
            UserError: unknown model, or a damaged checkpoint.
        """
        replace(settings, device="cpu").load()  # the device is the workers' own
        path = Path(settings.model)
        return cls(settings, path.read_bytes() if path.is_file() else None)

    def __call__(self) -> Denoiser:
        if self.weights is None:
            return self.settings.load()
        with tempfile.TemporaryDirectory(prefix="denoise-") as folder:
            path = Path(folder) / "weights.pth"
            path.write_bytes(self.weights)
            return replace(self.settings, model=str(path)).load()


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to Ray; a Ray that was connected to before is used and left as it is.

    Args:
        address: as `ray.init` takes it: ``auto``, ``HOST:PORT``, ``ray://HOST:10001``; ``local``
            starts one on this machine and ends it afterwards. A cluster that asks for a token
            takes it from where Ray does (see ``RAY_AUTH_MODE`` in its documents).

    Raises:
        UserError: Ray is not installed, or there is none at this address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "--ray needs Ray, which is not installed: pip install ray fsspec"
        ) from error
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        quiet |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdigit() and "/" not in host:
            socket.create_connection((host, int(port)), _PATIENCE).close()  # Ray tries for minutes
        ray.init(address=address, **quiet)
    except Exception as error:  # Ray itself raises no narrower one where it cannot be started
        ray.shutdown()
        if address == "local":
            raise UserError(f"Ray cannot be started here ({error}): run the same again") from error
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): check the address, or take --ray "
            f"local to start one here"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def run(
    tasks: Sequence[Task], settings: Settings, *, jobs: int | None = None, load: Load | None = None
) -> Generator[Result, None, None]:
    """Cleans recordings on the connected Ray; existing outputs are replaced.

    Whatever ends the iteration early stops the workers, and leaves no half-written output.

    Args:
        tasks: the recordings.
        settings: how to clean; with a CUDA device, or with ``auto`` where the cluster has GPUs,
            every task takes one.
        jobs: recordings at once; they share the cores. Left out, each core has one.
        load: makes the network of a worker, if not the settings do.

    Yields:
        The results, as they come.

    Raises:
        UserError: the model or the device is not to be had.
    """
    import ray

    resources = ray.cluster_resources()
    on_gpu = settings.device.startswith("cuda")
    if on_gpu and not resources.get("GPU"):
        raise UserError(
            f"the cluster has no GPU, and --device {settings.device} needs one: leave --device out"
        )
    cores = _share(jobs)
    work = ray.remote(_work).options(
        num_cpus=cores,
        num_gpus=int(on_gpu or (settings.device == "auto" and bool(resources.get("GPU")))),
        max_retries=_RETRIES,
        retry_exceptions=[TransferError],
    )
    network = ray.put(load or Loader.of(settings))
    tag = uuid.uuid4().hex
    waiting = enumerate(tasks)
    running: dict[Any, Task] = {}
    try:
        while True:
            for number, task in islice(waiting, (jobs or _MOST_WAITING) - len(running)):
                # In a list, or Ray would unpack the network anew for every task.
                reference = work.remote([network], settings, task, cores, f"{tag}-{number}")
                running[reference] = task
            if not running:
                return
            (done, *_), _ = ray.wait(list(running))
            yield _result(running.pop(done), done)
    finally:
        for reference in running:
            ray.cancel(reference)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_FAREWELL)


def _share(jobs: int | None) -> int:
    """Cores for each of ``jobs`` recordings at once, all on one machine."""
    import ray

    machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    machines = [cores for cores in machines if cores]
    if jobs is None or not machines:
        return 1
    return max(1, int(min(sum(machines) // jobs, *machines)))


def _result(task: Task, reference: Any) -> Result:
    """What came of a task."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TransferError):
            return Result(task, sentence=str(error.cause))
        raise error.cause from error  # the network cannot be loaded: so it will be for all
    except ray.exceptions.RayError as error:
        reason = str(error).splitlines()[0]
        return Result(
            task,
            sentence=f"{task.input}: its worker was lost {_RETRIES + 1} times ({reason}): clean "
            f"this file alone to see why, there may be too little memory",
        )


def _work(load: list[Any], settings: Settings, task: Task, cores: int, tag: str) -> Result:
    """Cleans one recording on a worker."""
    import torch

    torch.set_num_threads(cores)
    denoiser = _network(load[0])
    # Named after the task, so that whoever is given it again removes what a lost worker left.
    folder = Path(tempfile.gettempdir()) / f"denoise-{tag}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for name in ("in", "out"):
            (folder / name).mkdir(mode=0o700, parents=True)
        return _clean(denoiser, settings, task, folder, tag)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@lru_cache(maxsize=1)
def _network(load: Any) -> Denoiser:
    """The network, loaded once for all tasks of a worker."""
    import ray

    return ray.get(load)()


def _clean(denoiser: Denoiser, settings: Settings, task: Task, folder: Path, tag: str) -> Result:
    """Cleans one recording in ``folder``, and publishes the outputs.

    Raises:
        TransferError: storage failed; another attempt may help.
    """
    made = [folder / "out" / place.name for place in task.outputs]

    def named(text: str) -> str:
        """A sentence that speaks of the files the user knows."""
        copies = [folder / "in" / task.input.name, *made]
        for copy, place in zip(copies, (task.input, *task.outputs), strict=True):
            text = text.replace(str(copy), str(place))
        return text

    try:
        input = task.input.fetch(folder / "in")
        report = settings.clean(denoiser, Job(input, made[0], made[1] if task.noise else None))
        # The noise first: where the output is, the noise is too.
        for number, place in reversed(list(enumerate(task.outputs))):
            place.publish(made[number], f"{tag}-{number}")
    except TransferError:
        raise
    except Exception as error:
        sentence = named(told(error, "denoise --debug clean with this file alone")[0])
        about = any(str(place) in sentence for place in (task.input, *task.outputs))
        return Result(task, sentence=sentence if about else f"{task.input}: {sentence}")
    warnings = tuple(map(named, report.warnings))
    report = replace(report, damage=named(report.damage), warnings=warnings)
    return Result(task, report, report.damage)
