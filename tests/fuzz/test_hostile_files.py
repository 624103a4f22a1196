"""Hostile checkpoints and media: refused with a sentence or read, never more.

A short form of `python -m benchmarks.fuzz`, always with the same inputs, and every input that ever
led to a fault.
"""

from __future__ import annotations

import io
import pickle
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("resource", reason="limits of a process are a matter of Unix")

from audio_denoising.errors import UserError
from audio_denoising.media.reading import AudioReader, read_audio
from audio_denoising.models import VERSIONS
from audio_denoising.models.checkpoint import export, load_checkpoint
from benchmarks import fuzz, fuzz_pickles
from benchmarks.fuzz_checkpoints import archive, compression_bomb, valid
from benchmarks.fuzz_targets import clean_media, use_checkpoint
from benchmarks.fuzz_worker import Watched
from tests.fuzz.plants import unpickle

CRASHES = Path(__file__).resolve().parent / "crashes"


def checkpoint(folder: Path, **changes: Any) -> Path:
    """A valid checkpoint but for these entries."""
    content = torch.load(io.BytesIO(valid()), weights_only=True)
    torch.save({**content, **changes}, folder / "odd.pth")
    return folder / "odd.pth"


def with_pickle(folder: Path, pickled: bytes) -> Path:
    """An archive, right in all but its pickle."""
    (folder / "odd.pth").write_bytes(archive({"data.pkl": pickled, "byteorder": b"little"}))
    return folder / "odd.pth"


def paired(depth: int) -> bytes:
    """Opcodes for a tuple that holds the one before twice, and so on: 2^depth steps to hash."""
    return b")" + b"q\1h\1\x86" * depth


# The inputs


@pytest.mark.parametrize("name", [path.name for path in sorted(fuzz.CORPUS.iterdir())])
def test_what_the_inputs_are_made_of_is_good(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((fuzz.CORPUS / name).read_bytes())
    clean_media(path)
    samples, _ = read_audio(path)
    assert samples.shape[1] > 100
    assert abs(samples).max() > 0.1


@pytest.mark.parametrize("version", VERSIONS)
def test_the_small_checkpoint_is_good(version: str, tmp_path: Path) -> None:
    (tmp_path / "good.pth").write_bytes(valid(version))
    use_checkpoint(tmp_path / "good.pth")
    assert len(valid(version)) < 20_000


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_inputs_are_many_and_always_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [fuzz.make(kind, index, 0, tmp_path / "canary") for index in range(20)]
    monkeypatch.setattr(time, "time", lambda: 1e9)  # another day makes the same ones
    assert first == [fuzz.make(kind, index, 0, tmp_path / "canary") for index in range(20)]
    assert first != [fuzz.make(kind, index, 1, tmp_path / "canary") for index in range(20)]
    assert len({data for _, data in first}) > 15


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Watched]]:
    """A process for checkpoints and one for media."""
    folder = tmp_path_factory.mktemp("work")
    with (
        Watched(use_checkpoint, folder / "canary") as checkpoints,
        Watched(clean_media, folder / "canary") as media,
    ):
        yield {kind: checkpoints if kind == fuzz.CHECKPOINT else media for kind in fuzz.KINDS}


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_no_input_does_harm(kind: str, processes: dict[str, Watched], tmp_path: Path) -> None:
    verdicts: Counter[str] = Counter()
    for index in range(30):
        suffix, data = fuzz.make(kind, index, 1, Path("canary"))
        path = tmp_path / f"input{suffix}"
        path.write_bytes(data)
        outcome = processes[kind].feed(path)
        assert not outcome.fault, f"{kind} {index} {outcome}"
        verdicts[outcome.verdict] += 1
    assert verdicts["refused"] > 5  # else nothing was damaged
    assert verdicts["accepted"] > 0  # else nothing was read far


# Code


@pytest.mark.parametrize("name", fuzz_pickles.NAMES)
def test_code_in_a_checkpoint_is_never_run(name: bytes, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for call in fuzz_pickles.calls(name, canary):
        path = with_pickle(tmp_path, b"\x80\2}(" + fuzz_pickles.text("format") + call + b"u.")
        with pytest.raises(UserError, match="odd.pth is not a readable checkpoint"):
            load_checkpoint(path)
        assert not canary.exists()


def test_the_same_code_runs_where_a_pickle_is_trusted(tmp_path: Path) -> None:
    """So the canary sings, were there anything to sing of."""
    canary = tmp_path / "canary"
    call = fuzz_pickles.calls(b"cposix\nsystem\n", canary)[0]
    pickle.loads(b"\x80\2" + call + b".")
    assert canary.exists()


def test_the_watched_process_would_be_heard(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "input"
    path.write_bytes(b"\x80\2" + fuzz_pickles.calls(b"cbuiltins\neval\n", Path("canary"))[0] + b".")
    with Watched(unpickle, canary) as watched:
        assert watched.feed(path).verdict == "executed"


# What once led to a fault


@pytest.mark.parametrize(
    "grows",
    [
        b"cbuiltins\nbytearray\n\x8a\5\0\0\0\xc0\0\x85R",  # 3 GiB
        b"c__builtin__\nbytearray\n\x8a\5\0\0\0\xc0\0\x85R",
        b"ccollections\nCounter\n)R",
        b"\x8f" * 1000,
    ],
)
def test_a_pickle_may_make_nothing_but_tensors_and_plain_values(
    grows: bytes, tmp_path: Path
) -> None:
    path = with_pickle(tmp_path, b"\x80\2}(" + fuzz_pickles.text("format") + grows + b"u.")
    with pytest.raises(UserError, match="odd.pth is not a readable checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "slow", [paired(60) + b"K\1", fuzz_pickles.text("version") + paired(60)], ids=["key", "value"]
)
def test_a_key_that_would_take_2_to_the_60_steps_is_refused(slow: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="odd.pth is not a readable checkpoint"):
        load_checkpoint(with_pickle(tmp_path, b"\x80\2}(" + slow + b"u."))


def test_a_version_that_would_take_long_to_compare_is_refused(tmp_path: Path) -> None:
    pickled = b"\x80\2}(" + fuzz_pickles.text("format") + b"K\1"
    pickled += fuzz_pickles.text("version") + paired(15) + b"u."
    with pytest.raises(UserError, match="odd.pth is not a checkpoint of this program"):
        load_checkpoint(with_pickle(tmp_path, pickled))


def test_a_checkpoint_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    path.write_bytes(compression_bomb(64 << 20))
    with zipfile.ZipFile(path) as opened:
        assert opened.infolist()[0].file_size == 64 << 20
    with pytest.raises(UserError, match="bomb.pth is not a readable checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"earlier": [{}]},
        {"earlier": [{"epochs": [{}]}]},
        {"earlier": [{"epochs": torch.ones(())}]},
        {"position": {"step": float("inf")}},
        {"version": ["v4"]},
        {"version": {"v4": 1}},
    ],
)
def test_a_checkpoint_with_other_entries_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="odd.pth is not a checkpoint of this program"):
        load_checkpoint(checkpoint(tmp_path, **changes))


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.bool, torch.complex64], ids=lambda dtype: str(dtype)
)
def test_weights_that_are_no_real_numbers_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    model = torch.load(io.BytesIO(valid()), weights_only=True)["model"]
    odd = {name: torch.zeros((), dtype=dtype).expand(value.shape) for name, value in model.items()}
    with pytest.raises(UserError, match="odd.pth is not a (readable )?checkpoint"):
        load_checkpoint(checkpoint(tmp_path, model=odd))


@pytest.mark.parametrize(
    "options", [None, {"start_from": torch.zeros(2)}, {"start_from": 3}, {"hold_out": 0.5}]
)
def test_odd_options_do_not_stop_an_export_with_a_traceback(options: Any, tmp_path: Path) -> None:
    loaded = load_checkpoint(checkpoint(tmp_path, options=options))
    with pytest.raises(UserError, match="odd.pth is not a checkpoint of this program"):
        export(loaded, tmp_path / "exported.pth")
    assert not (tmp_path / "exported.pth").exists()


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
