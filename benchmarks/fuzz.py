"""Feeds damaged media files to the program; none may harm it.

python -m benchmarks.fuzz [--inputs 20000] [--seed 0] [--kind KIND ...] [--json FILE]

Every input is a file of tests/fuzz/corpus with a few damages drawn at random, always the same for a
seed. A process reads it as the commands do, and is watched. It may accept the file, or refuse it
with a sentence. All else is a fault: an exception that would reach the user as a traceback, the
death of the process, more than 10 s of processor time or 2 GiB of memory, or a program started.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.errors import UserError
from audio_denoising.media.formats import CONTAINERS, default_output
from audio_denoising.media.reading import AudioReader
from benchmarks.measuring import describe_machine, markdown_table, ready, report, resident

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "fuzz" / "corpus"
OTHERS = "others"
KINDS = ("wav", "flac", "mp3", "mp4", OTHERS)
FAULTS = ("exception", "crash", "hang", "memory", "executed")
SECONDS, MIBS = 10, 2048  # of the processor, and resident, that an input may take
PATIENCE = 120  # seconds without an answer

_MOST = 6 << 30  # bytes that the system gives: a bomb should not take the machine along
_FRESH = 1000  # inputs, then another process: a small leak should not be taken for a bomb
_STARTS = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen")  # PEP 578
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_TAG = re.compile(rb"[A-Za-z0-9 \xa9]{4}")  # of RIFF chunks, MP4 boxes ...


@cache
def seeds(kind: str) -> dict[str, bytes]:
    """The good files of a kind: name -> content."""
    kinds = {
        path: path.suffix[1:] if path.suffix[1:] in KINDS else OTHERS for path in CORPUS.iterdir()
    }
    return {path.name: path.read_bytes() for path in sorted(kinds) if kinds[path] == kind}


def make(kind: str, index: int, seed: int) -> tuple[str, bytes]:
    """The ending and the content of an input; always the same for the same arguments."""
    drawn = random.Random(f"{seed} {kind} {index}")
    name = drawn.choice(list(seeds(kind)))
    others = seeds(kind if drawn.random() < 0.8 else drawn.choice(KINDS))
    data = bytearray(seeds(kind)[name])
    for _ in range(drawn.choice((1, 1, 1, 2, 3, 5))):
        if data:
            _damage(data, drawn, drawn.choice(list(others.values())))
    return Path(name).suffix, bytes(data)


def _damage(data: bytearray, drawn: random.Random, other: bytes) -> None:
    """One damage, often in the header, which decides most."""

    def somewhere(within: bytes | bytearray) -> int:
        return drawn.randrange(min(len(within), 256 if drawn.random() < 0.4 else len(within)))

    start = somewhere(data)
    stop = start + drawn.choice((1, 4, 8, 32, 128, 1024, 8192))
    tags = [match.start() for match in _TAG.finditer(data)] or [0]
    what = drawn.randrange(8)
    if what == 0:  # a bit is flipped
        data[start] ^= 1 << drawn.randrange(8)
    elif what == 1:  # the end is missing
        del data[start:]
    elif what == 2:  # a block is missing
        del data[start:stop]
    elif what == 3:  # a block comes again, or noise gets between
        data[start:start] = drawn.choice((data[start:stop] * 3, drawn.randbytes(stop - start)))
    elif what == 4:  # four letters become four others of the file
        to, source = drawn.choice(tags), drawn.choice(tags)
        data[to : to + 4] = data[source : source + 4]
    elif what == 5:  # it goes on as another file
        data[start:] = other[somewhere(other) :]
    else:  # a number, beside a tag or anywhere, becomes one that nobody expects
        size = drawn.choice((2, 3, 4, 4, 8))
        number = drawn.choice((*_NUMBERS, drawn.getrandbits(64))) & ((1 << 8 * size) - 1)
        beside = drawn.choice(tags) + drawn.choice((-4, 4, 8, 12, 16, 20, 24))
        place = drawn.choice((start, min(max(0, beside), len(data) - 1)))
        data[place : place + size] = number.to_bytes(size, drawn.choice(("little", "big")))


def clean_media(path: Path) -> None:
    """Reads a recording strictly, and then as `denoise clean` does: what can be read of it.

    The output is of the input's own kind where that can be written, so that tags, covers, chapters
    and the picture are carried over too. The network is left out: it gets nothing but numbers.
    """
    suffix = path.suffix if path.suffix in CONTAINERS else default_output(path).suffix
    unchanged = Denoiser(lambda images: images, name="unchanged")
    unchanged.denoise_file(path, path.with_name(f"out{suffix}"), salvage=True, force=True)
    with AudioReader(path) as reader:
        for _ in reader.blocks(1 << 18):
            pass


class Watched:
    """Feeds files to a process, and starts another where it died; close it in the end."""

    def __init__(
        self, target: Callable[[Path], object], seconds: int = SECONDS, mibs: float = MIBS
    ) -> None:
        self._target, self._seconds, self._mibs, self._fed = target, seconds, mibs, 0
        self._process: BaseProcess | None = None

    def feed(self, path: Path) -> tuple[str, str, float]:
        """The verdict on a file, why, and the largest resident set of the process in MiB."""
        if self._process is None or self._fed >= _FRESH:
            self.close()
            context = ready()
            self._pipe, theirs = context.Pipe()
            arguments = theirs, self._target, self._seconds
            self._process = context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            self._fed = 0
            theirs.close()  # so that its death is heard here
            self._pipe.recv()  # it has loaded all it needs
        self._fed += 1
        self._pipe.send(path)
        try:
            if not self._pipe.poll(PATIENCE):
                self.close()
                return "hang", f"no answer in {PATIENCE} s", 0.0
            verdict, detail, peak = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode or 0
            self.close()
            return "hang" if code == -signal.SIGXCPU else "crash", f"exit code {code}", 0.0
        if peak > self._mibs:
            self.close()  # the next one is not to blame
            verdict = "memory"
        return verdict, detail, peak

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(pipe: Connection, target: Callable[[Path], object], seconds: int) -> None:
    """Reads the files whose names come, and tells what came of them, until it is killed."""
    torch.set_num_threads(1)
    started: list[str] = []
    sys.addaudithook(lambda event, _: started.append(event) if event in _STARTS else None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST, resource.RLIM_INFINITY))
    pipe.send(None)
    while True:
        path: Path = pipe.recv()
        allowed = int(time.process_time()) + 1 + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
        verdict, detail = "accepted", ""
        try:
            target(path)
        except UserError as error:
            verdict, detail = "refused", str(error)
        except BaseException:  # also SystemExit and KeyboardInterrupt
            verdict, detail = "exception", traceback.format_exc(limit=-4)
        if started:
            verdict, detail = "executed", ", ".join(started)
            started.clear()
        pipe.send((verdict, detail, resident("VmHWM")))


def fuzz(kind: str, inputs: int, seed: int) -> Iterator[tuple[str, str, float]]:
    """Verdict, detail and memory of every input."""
    watching = closing(Watched(clean_media))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, watching as watched:
        for index in range(inputs):
            suffix, data = make(kind, index, seed)
            path = Path(folder) / f"input{suffix}"
            path.write_bytes(data)
            yield watched.feed(path)


def run(kind: str, inputs: int, seed: int) -> dict[str, Any]:
    """Counts of one kind; faults are told with the numbers of their inputs, see `make`."""
    started, counts, peak = time.perf_counter(), Counter[str](), 0.0
    for index, (verdict, detail, mib) in enumerate(fuzz(kind, inputs, seed)):
        counts[verdict] += 1
        peak = max(peak, mib)
        if verdict in FAULTS:
            print(f"{kind} {index}: {verdict}: {detail}", file=sys.stderr)
    found = {verdict: counts[verdict] for verdict in ("accepted", "refused", *FAULTS)}
    seconds = time.perf_counter() - started
    return {"kind": kind, "inputs": inputs, **found, "peak_mib": peak, "seconds": seconds}


def fuzz_table(results: dict[str, Any]) -> str:
    """The counts as Markdown."""
    numbers = ["inputs", "accepted", "refused", *FAULTS, "peak_mib", "seconds"]
    rows = [[row["kind"], *(f"{row[name]:.0f}" for name in numbers)] for row in results["kinds"]]
    return markdown_table(["kind", *(n.replace("_mib", " MiB") for n in numbers)], rows)


def main(arguments: list[str] | None = None) -> int:
    """Feeds the inputs, prints the table, keeps the counts; 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="in all, shared by the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all")
    parser.add_argument("--json", type=Path, help="file for the counts")
    given = parser.parse_args(arguments)
    kinds = given.kind or KINDS
    rows = [run(kind, given.inputs // len(kinds), given.seed) for kind in kinds]
    results = {"machine": describe_machine(), "seed": given.seed, "kinds": rows}
    report(results, given.json, fuzz_table(results))
    return int(any(row[fault] for row in rows for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
