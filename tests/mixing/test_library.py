"""The library: decoded once, kept whole, and the same from a folder as from memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from audio_denoising.cli.app import commands
from audio_denoising.corpora.corpus import index_noise, index_speech, read_segment
from audio_denoising.errors import UserError
from audio_denoising.mixing import kept_library as kept_module
from audio_denoising.mixing import library as library_module
from audio_denoising.mixing.bank import Crops, SoundBank
from audio_denoising.mixing.kept_library import KeptLibrary
from audio_denoising.mixing.library import Library, load_bank

CORPUS = Path(__file__).parents[1] / "data"


def all_of(bank: SoundBank, samples: int = 8000) -> torch.Tensor:
    """The beginnings of all recordings of a bank."""
    count = len(bank.starts)
    return bank.read(
        Crops(np.arange(count), np.zeros(count), np.ones(count), np.zeros(count)), samples
    )


def same(one: SoundBank, other: SoundBank) -> bool:
    tables = ("lengths", "groups", "chances", "gains")
    return torch.equal(all_of(one), all_of(other)) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in tables
    )


@pytest.fixture
def voices(write, tmp_path):
    for number in range(6):
        write(f"speech/{number % 2}/{number}.wav", seconds=0.3 + number / 10)
    return tmp_path / "speech"


def test_a_bank_is_what_was_recorded(tiny_speech):
    bank = load_bank(tiny_speech)
    assert len(set(bank.groups)) == len({recording.group for recording in tiny_speech})
    for number, recording in enumerate(tiny_speech[:3]):
        original = read_segment(recording, 0, 8000)
        heard = all_of(bank)[number].numpy() * bank.gains[number]
        np.testing.assert_allclose(heard[80:], original[80:], atol=1e-3)


def test_a_folder_gives_what_memory_gives_and_decodes_only_what_is_missing(
    voices, tmp_path, monkeypatch
):
    recordings = index_speech(voices)
    library = KeptLibrary(tmp_path / "decoded")
    assert library.add(recordings[:4]) == 4
    assert KeptLibrary(tmp_path / "decoded").missing(recordings) == recordings[4:]
    read = []
    monkeypatch.setattr(
        library_module, "read_segment", lambda *given: read.append(given[0]) or read_segment(*given)
    )
    assert KeptLibrary(tmp_path / "decoded").add(recordings) == 2
    assert sorted(each.path for each in read) == [each.path for each in recordings[4:]]
    again = KeptLibrary(tmp_path / "decoded")
    assert again.add(recordings) == 0
    assert same(again.bank(recordings), load_bank(recordings))
    assert same(again.bank(recordings[2:4], [1.0]), load_bank(recordings[2:4]))


def test_a_changed_recording_is_decoded_again(voices, tmp_path, write):
    recordings = index_speech(voices)
    KeptLibrary(tmp_path / "decoded").add(recordings)
    write("speech/0/0.wav", seconds=2)
    changed = index_speech(voices)
    library = KeptLibrary(tmp_path / "decoded")
    assert library.add(changed) == 1
    assert same(library.bank(changed), load_bank(changed))


def test_a_decoding_that_was_stopped_or_killed_goes_on(voices, tmp_path):
    recordings, folder = index_speech(voices), tmp_path / "decoded"

    def stop(done: float, total: float) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        KeptLibrary(folder).add(recordings, stop)
    left = len(KeptLibrary(folder).missing(recordings))
    assert 0 < left < 6
    for name in ("samples", "active"):  # a kill in the middle of the next recording
        with (folder / name).open("ab") as file:
            file.write(b"\1" * 1000)
    library = KeptLibrary(folder)
    assert library.add(recordings) == left
    assert same(library.bank(recordings), load_bank(recordings))


def test_silent_and_damaged_recordings_are_left_out_and_told_apart(write, tmp_path):
    good = write("x/good.wav", seconds=1)
    samples = soundfile.read(good)[0]
    write("x/quiet.wav", samples=1e-2 * samples, subtype="FLOAT")
    write("x/silent.wav", samples=np.zeros(16000))
    torn = write("x/torn.flac", seconds=3)
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 3])
    recordings = index_noise(tmp_path / "x")
    library = Library()
    library.add(recordings)
    bank = library.bank(recordings)
    assert library.damaged(recordings) == [torn]
    assert bank.gains[0] == pytest.approx(100 * bank.gains[1], rel=1e-2)
    torch.testing.assert_close(*all_of(bank), atol=1e-2, rtol=0)  # both use the whole resolution
    silent = [r for r in recordings if r.path.name == "silent.wav"]
    with pytest.raises(UserError, match="None of the recordings"):
        library.bank(silent)


def test_a_long_corpus_is_read_from_the_folder_not_into_memory(voices, tmp_path):
    recordings = index_speech(voices)
    library = KeptLibrary(tmp_path / "decoded")
    library.add(recordings)
    assert all(isinstance(part, np.memmap) for part in library._read_tape())


def test_a_folder_that_cannot_be_used_is_one_sentence(voices, tmp_path, monkeypatch):
    recordings, folder = index_speech(voices), tmp_path / "decoded"
    KeptLibrary(folder).add(recordings)
    samples = (folder / "samples").read_bytes()
    (folder / "samples").write_bytes(samples[:-1000])
    with pytest.raises(UserError, match="no readable recordings .cut short.: delete it"):
        KeptLibrary(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(UserError, match="no readable recordings .*: delete it"):
        KeptLibrary(folder)
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(kept_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="0.0 GB of room.*free some space, or name another --cache"):
        KeptLibrary(tmp_path / "other").add(recordings)
    assert not (tmp_path / "other").exists()


def test_the_command_decodes_once_and_says_so(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("speech/anna/1.wav", seconds=1)
    write("noise/rain.wav", seconds=1)
    cut = write("noise/cut.flac", seconds=3)
    cut.write_bytes(cut.read_bytes()[:2000])
    line = ["data", "prepare", "--speech", "speech", "--noise", "noise"]
    told = [" ".join(CliRunner().invoke(commands(), line).output.split()) for _ in range(2)]
    assert all(text.startswith("data/decoded 3 recordings") for text in told)
    assert "3 decoded now, 0 there before" in told[0]
    assert "0 decoded now, 3 there before" in told[1]
    assert "1 recording that cannot be decoded" in told[1] and "cut.flac" in told[1]
    other = CliRunner().invoke(commands(), [*line, "--cache", "other"]).output
    assert "denoise train … --cache other" in other
