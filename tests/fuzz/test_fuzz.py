"""Damaged media are refused with a sentence or read, never more.

A short form of `python -m benchmarks.fuzz`, and media files that once led to a fault.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits of a process are a matter of Unix")

from audio_denoising.errors import UserError
from audio_denoising.media.reading import AudioReader, read_audio
from benchmarks import fuzz

CRASHES = Path(__file__).resolve().parent / "crashes"


@pytest.mark.parametrize("name", [path.name for path in sorted(fuzz.CORPUS.iterdir())])
def test_what_the_inputs_are_made_of_is_good(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes((fuzz.CORPUS / name).read_bytes())
    fuzz.clean_media(tmp_path / name)
    samples, _ = read_audio(tmp_path / name)
    assert samples.shape[1] > 100 and abs(samples).max() > 0.1


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_no_input_does_harm(kind: str) -> None:
    verdicts: Counter[str] = Counter()
    for index, (verdict, detail, _) in enumerate(fuzz.fuzz(kind, 20, seed=1)):
        assert verdict not in fuzz.FAULTS, f"{kind} {index} {detail}"
        verdicts[verdict] += 1
    assert verdicts["refused"] > 2  # else nothing was damaged
    assert fuzz.make(kind, 3, 1) == fuzz.make(kind, 3, 1) != fuzz.make(kind, 3, 2)


def misbehave(path: Path) -> None:
    """Does what the file says."""
    what = path.read_text()
    if what == "exception":
        raise SystemExit(0)
    if what == "crash":
        os.abort()
    if what == "memory":
        _ = b"\1" * (600 << 20)
    if what == "executed":
        os.system("true")
    while what == "hang":
        pass


def test_every_fault_is_noticed_and_the_next_file_is_not_blamed(tmp_path: Path) -> None:
    with closing(fuzz.Watched(misbehave, seconds=1, mibs=500)) as watched:
        for what in (*fuzz.FAULTS, "accepted"):
            (tmp_path / "input").write_text(what)
            assert watched.feed(tmp_path / "input")[0] == what


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
