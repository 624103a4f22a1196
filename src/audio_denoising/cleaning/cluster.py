"""Recordings cleaned by the workers of a Ray cluster, or of a Ray that is started here for it.

Every recording is a task of its own. Its outputs appear when they are complete: a worker may be
lost at any moment, Ray gives its task to another one, and a run that was stopped goes on.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from audio_denoising.cleaning.batch import Outcome
from audio_denoising.cleaning.recording import clean_recording
from audio_denoising.cleaning.settings import Job, Settings
from audio_denoising.cleaning.storage import TransferError, is_address, opened, publish
from audio_denoising.errors import UserError
from audio_denoising.models.versions import locate

if TYPE_CHECKING:
    from audio_denoising.cleaning.cleaner import Cleaner

Load = Callable[[], "Cleaner"]  # makes a worker's network, and travels to it
_RETRIES = 3  # for a lost worker, and for storage that fails
_MOST_WAITING = 1000  # tasks handed to Ray at once
_PATIENCE = 10.0  # seconds for a cluster to answer, and for its workers to end early


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to Ray at an address as `ray.init` takes it (``auto``, ``HOST:PORT`` …); a Ray
    that was connected to before is used and left as it is, ``local`` starts one and ends it.
    UserError where Ray is not installed, or there is none."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    if find_spec("ray") is None:
        raise UserError("--ray needs Ray, which is not installed: pip install ray fsspec")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    known = address in ("auto", "local") or "://" in host  # an address of another kind
    if not known and not (host and port.isdigit()):
        raise UserError(f"{address} is no address of a Ray: give HOST:PORT, or auto or local")
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": 256 << 20}  # for weights
    try:
        if not known:  # before Ray is loaded, which would try for minutes
            socket.create_connection((host, int(port)), _PATIENCE).close()
        import ray

        found = ray.is_initialized()
        if not found:
            ray.init(address=address, **options)
    except Exception as error:  # Ray itself raises no narrower one where it cannot be started
        todo = "run the same again" if address == "local" else "check it, or take --ray local"
        raise UserError(f"no Ray answers at {address} ({error}): {todo}") from error
    try:
        yield
    finally:
        if not found:
            ray.shutdown()


def run(
    jobs: Sequence[Job], settings: Settings, load: Load, device: str = "auto", at_once: int = 0
) -> Generator[Outcome, None, None]:
    """Cleans recordings on the connected Ray; existing outputs are replaced.

    Whatever ends the iteration early stops the workers, and leaves no half-written output. A task
    takes a core, and a GPU where there is one and it may. UserError for want of a device."""
    import ray

    gpus = ray.cluster_resources().get("GPU")
    if device.startswith("cuda") and not gpus:
        raise UserError(f"the cluster has no GPU for --device {device}: leave --device out")
    ways = {"max_retries": _RETRIES, "retry_exceptions": [TransferError]}
    work = ray.remote(_work).options(num_gpus=int(bool(gpus) and device != "cpu"), **ways)
    network, waiting = ray.put(load), iter(jobs)
    running: dict[Any, Job] = {}
    try:
        while True:
            for job in islice(waiting, (at_once or _MOST_WAITING) - len(running)):
                # In a list, or Ray would unpack the network anew for every task.
                running[work.remote([network], settings, job, uuid4().hex)] = job
            if not running:
                return
            (done, *_), _ = ray.wait(list(running))
            yield _outcome(running.pop(done), done)
    finally:
        for reference in running:
            ray.cancel(reference)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_PATIENCE)


def loader(model: str, device: str) -> Load:
    """Makes a network on a worker, which may lack its weights; UserError for an unknown model."""
    from audio_denoising.cleaning.cleaner import load_cleaner

    path = locate(model)
    load_cleaner(path, device="cpu")  # they are known to be good; the device is the workers' own
    weights = path.read_bytes()  # they travel along

    def load() -> Cleaner:
        with TemporaryDirectory(prefix="denoise-") as temporary:
            copy = Path(temporary, path.name)
            copy.write_bytes(weights)
            return load_cleaner(copy, device=device)

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
        why = f"its worker was lost {_RETRIES + 1} times ({str(error).splitlines()[0]})"
        todo = "clean this file alone to see why, there may be too little memory"
        return Outcome(job, sentence=f"{job.input}: {why}: {todo}")


@lru_cache(maxsize=1)
def _network(load: Any) -> Cleaner:
    """The network, loaded once for all tasks of a worker."""
    import ray

    return ray.get(load)()


def _work(load: list[Any], settings: Settings, job: Job, tag: str) -> Outcome:
    """Cleans one recording on a worker; TransferError where another attempt may help."""
    cleaner = _network(load[0])
    # Named after the task, so that whoever is given it again removes what a lost worker left.
    temporary = Path(gettempdir(), f"denoise-{tag}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    names = job.input, *job.outputs
    copies = [  # in folders of their own: input and output may be called alike
        str(temporary / f"{number}" / PurePath(name).name) if is_address(name) else name
        for number, name in enumerate(names)
    ]

    def named(sentence: str) -> str:  # of the files that the user knows
        for copy, name in zip(copies, names, strict=True):
            sentence = sentence.replace(copy, name)
        return sentence

    try:
        if is_address(job.input):
            Path(copies[0]).parent.mkdir()
            with opened(job.input) as (far, path):
                far.get_file(path, copies[0])
        report = clean_recording(cleaner, Job(*copies), replace(settings, force=True))
        for number in range(len(job.outputs), 0, -1):  # the noise first, so that no output lacks it
            if is_address(names[number]):
                publish(Path(copies[number]), names[number], f"{tag}-{number}")
    except TransferError:
        raise
    except Exception as error:
        return Outcome.of_error(job, error, named)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    damage, warnings = named(report.damage), tuple(map(named, report.warnings))
    return Outcome(job, replace(report, damage=damage, warnings=warnings), damage)
