"""Hostile media: refused with a sentence or read, never more.

A short form of `python -m benchmarks.fuzz`, always with the same inputs, and every input that ever
led to a fault.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits of a process are a matter of Unix")

from audio_denoising.errors import UserError
from audio_denoising.media.reading import AudioReader, read_audio
from benchmarks import fuzz
from benchmarks.fuzz_targets import clean_media
from benchmarks.fuzz_worker import Watched
from tests.fuzz.plants import unpickle

CRASHES = Path(__file__).resolve().parent / "crashes"


@pytest.mark.parametrize("name", [path.name for path in sorted(fuzz.CORPUS.iterdir())])
def test_what_the_inputs_are_made_of_is_good(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((fuzz.CORPUS / name).read_bytes())
    clean_media(path)
    samples, _ = read_audio(path)
    assert samples.shape[1] > 100
    assert abs(samples).max() > 0.1


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_inputs_are_many_and_always_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [fuzz.make(kind, index, 0) for index in range(20)]
    monkeypatch.setattr(time, "time", lambda: 1e9)  # another day makes the same ones
    assert first == [fuzz.make(kind, index, 0) for index in range(20)]
    assert first != [fuzz.make(kind, index, 1) for index in range(20)]
    assert len({data for _, data in first}) > 15


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(clean_media, tmp_path_factory.mktemp("work") / "canary") as watched:
        yield watched


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_no_input_does_harm(kind: str, process: Watched, tmp_path: Path) -> None:
    verdicts: Counter[str] = Counter()
    for index in range(30):
        suffix, data = fuzz.make(kind, index, 1)
        path = tmp_path / f"input{suffix}"
        path.write_bytes(data)
        outcome = process.feed(path)
        assert not outcome.fault, f"{kind} {index} {outcome}"
        verdicts[outcome.verdict] += 1
    assert verdicts["refused"] > 5  # else nothing was damaged
    assert verdicts["accepted"] > 0  # else nothing was read far


class Touch:
    """Unpickling it makes a file."""

    def __reduce__(self) -> object:
        return Path.touch, (Path("canary"),)


def test_the_watched_process_would_be_heard(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(pickle.dumps(Touch()))
    with Watched(unpickle, tmp_path / "canary") as watched:
        assert watched.feed(path).verdict == "executed"


# What once led to a fault


def test_time_stamps_alone_make_no_day_of_silence() -> None:
    """Twenty gaps of an hour each, in a file of 5 KB."""
    with AudioReader(CRASHES / "gaps_of_hours.mkv", salvage=True) as reader:
        longest = 2 * 3600 * reader.rate
        assert sum(block.shape[1] for block in reader.blocks(1 << 20)) < longest


def test_a_gap_at_a_senseless_rate_takes_little_memory() -> None:
    """Ten seconds at 2 GHz are silence of 80 GB."""
    with AudioReader(CRASHES / "gap_at_2_ghz.mkv") as reader:
        pieces = reader._decoder.pieces()
        assert max(next(pieces).nbytes for _ in range(100)) < 1 << 20


def test_more_samples_in_a_second_than_any_recording_has_are_refused() -> None:
    with pytest.raises(UserError, match="tells of 8 channels at 768000 Hz.*split its channels"):
        AudioReader(CRASHES / "eight_at_768_khz.wav")


@pytest.mark.parametrize("name", ["huge_float.wav", "huge_double.wav"])
def test_samples_beyond_all_measure_are_refused(name: str) -> None:
    with (
        AudioReader(CRASHES / name) as reader,
        pytest.raises(UserError, match="beyond all measure|NaN or infinite"),
    ):
        list(reader.blocks(1 << 16))
