"""Recordings cleaned by the workers of a Ray cluster, or of a Ray that is started here for it.

Every recording is a task of its own. Its outputs appear when they are complete, so that a worker
may be lost at any moment: Ray gives its task to another one, and a run that was stopped goes on
with what is missing.
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
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from audio_denoising.cleaning import storage
from audio_denoising.cleaning.batch import Outcome
from audio_denoising.cleaning.settings import Job, Settings
from audio_denoising.cleaning.storage import TransferError
from audio_denoising.errors import UserError
from audio_denoising.models.versions import locate

if TYPE_CHECKING:
    from audio_denoising.cleaning.denoiser import Denoiser

Load = Callable[[], "Denoiser"]
"""Makes a worker's network; travels to it."""

_RETRIES = 3  # for a lost worker, and for storage that fails
_MOST_WAITING = 1000  # tasks handed to Ray at once
_OBJECT_STORE = 256 * 2**20  # bytes of memory for what tasks exchange: the weights, little else
_PATIENCE = 10.0  # seconds for a cluster to answer
_FAREWELL = 10.0  # seconds for the workers to put things away after an early end


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
    local = address == "local"
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if local:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit() and "/" not in host:
            socket.create_connection((host, int(port)), _PATIENCE).close()  # Ray tries for minutes
        ray.init(address=address, **options)
    except Exception as error:  # Ray itself raises no narrower one where it cannot be started
        ray.shutdown()
        raise UserError(
            f"no Ray answers at {address} ({error}): "
            + ("run the same again" if local else "check the address, or take --ray local")
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def run(
    jobs: Sequence[Job],
    settings: Settings,
    load: Load,
    *,
    device: str = "auto",
    at_once: int | None = None,
) -> Generator[Outcome, None, None]:
    """Cleans recordings on the connected Ray; existing outputs are replaced.

    Whatever ends the iteration early stops the workers, and leaves no half-written output.

    Args:
        load: makes the network of a worker, see `loader`.
        device: on CUDA, or with ``auto`` where the cluster has GPUs, every task takes one.
        at_once: recordings; they share the cores. Left out, each core has one.

    Raises:
        UserError: the network or the device is not to be had.
    """
    import ray

    gpus = ray.cluster_resources().get("GPU")
    on_gpu = device.startswith("cuda")
    if on_gpu and not gpus:
        raise UserError(
            f"the cluster has no GPU, and --device {device} needs one: leave --device out"
        )
    cores = 1
    if at_once:  # all cores of a recording are on one machine
        machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        machines = [each for each in machines if each] or [1]
        cores = max(1, int(min(sum(machines) // at_once, *machines)))
    work = ray.remote(_work).options(
        num_cpus=cores,
        num_gpus=int(on_gpu or (device == "auto" and bool(gpus))),
        max_retries=_RETRIES,
        retry_exceptions=[TransferError],
    )
    network = ray.put(load)
    tag = uuid.uuid4().hex
    waiting = enumerate(jobs)
    running: dict[Any, Job] = {}
    try:
        while True:
            for number, job in islice(waiting, (at_once or _MOST_WAITING) - len(running)):
                # In a list, or Ray would unpack the network anew for every task.
                reference = work.remote([network], settings, job, cores, f"{tag}-{number}")
                running[reference] = job
            if not running:
                return
            (done, *_), _ = ray.wait(list(running))
            yield _outcome(running.pop(done), done)
    finally:
        for reference in running:
            ray.cancel(reference)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_FAREWELL)


def loader(model: str, device: str) -> Load:
    """Loads a network on a worker, which may lack its weights: they travel along.

    Raises:
        UserError: unknown model, or a damaged checkpoint.
    """
    from audio_denoising.cleaning.denoiser import Denoiser

    path = locate(model)
    Denoiser(path, device="cpu")  # they are known to be good; the device is the workers' own
    name, weights = path.name, path.read_bytes()

    def load() -> Denoiser:
        with tempfile.TemporaryDirectory(prefix="denoise-") as temporary:
            copy = Path(temporary) / name
            copy.write_bytes(weights)
            return Denoiser(copy, device=device)

    return load


def _outcome(job: Job, reference: Any) -> Outcome:
    """What came of a task."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TransferError):
            return Outcome(job, sentence=str(error.cause))
        raise error.cause from error  # the network cannot be loaded: so it will be for all
    except ray.exceptions.RayError as error:
        sentence = (
            f"{job.input}: its worker was lost {_RETRIES + 1} times ({str(error).splitlines()[0]}):"
            " clean this file alone to see why, there may be too little memory"
        )
        return Outcome(job, sentence=sentence)


@lru_cache(maxsize=1)
def _network(load: Any) -> Denoiser:
    """The network, loaded once for all tasks of a worker."""
    import ray

    return ray.get(load)()


def _work(load: list[Any], settings: Settings, job: Job, cores: int, tag: str) -> Outcome:
    """Cleans one recording on a worker; what has an address is fetched before, published after.

    Raises:
        TransferError: storage failed; another attempt may help.
    """
    import torch

    torch.set_num_threads(cores)
    denoiser = _network(load[0])
    # Named after the task, so that whoever is given it again removes what a lost worker left.
    temporary = Path(tempfile.gettempdir()) / f"denoise-{tag}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    names = (job.input, *job.outputs)
    copies = [  # in folders of their own: input and output may be called alike
        str(temporary / f"{number}" / PurePath(name).name) if storage.is_address(name) else name
        for number, name in enumerate(names)
    ]

    def named(sentence: str) -> str:
        """A sentence that speaks of the files that the user knows."""
        for copy, name in zip(copies, names, strict=True):
            sentence = sentence.replace(copy, name)
        return sentence

    try:
        if copies[0] != job.input:
            storage.fetch(job.input, Path(copies[0]))
        report = denoiser.clean(Job(*copies), replace(settings, force=True))
        # The noise first: where the output is, the noise is too.
        for number in reversed(range(1, len(names))):
            if copies[number] != names[number]:
                storage.publish(Path(copies[number]), names[number], f"{tag}-{number}")
    except TransferError:
        raise
    except Exception as error:
        return Outcome.of_error(job, error, named)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    damage, warnings = named(report.damage), tuple(map(named, report.warnings))
    return Outcome(job, replace(report, damage=damage, warnings=warnings), damage)
