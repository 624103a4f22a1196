"""The cache answers what decoding answers, notices what changed, and is never garbage."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from audio_denoising.cli.data import data_app
from audio_denoising.corpora.corpus import Recording, index_noise, index_speech
from audio_denoising.errors import UserError
from audio_denoising.mixing import preparation
from audio_denoising.mixing.augment import PRESETS
from audio_denoising.mixing.dataset import MixtureDataset, batches
from audio_denoising.mixing.mixing import read_segment
from audio_denoising.mixing.preparation import prepare
from audio_denoising.mixing.prepared import DEFAULT, EXACT, FLOAT, PreparedAudio, open_cache

RATE = 16_000


def opened(path: Path, recordings: list[Recording]) -> PreparedAudio:
    cache = open_cache(path, recordings)
    assert cache is not None
    return cache


def files(place: Path) -> list[str]:
    """What lies in the folder of a cache, but for the lock of an unfinished run."""
    return [path.name for path in place.parent.iterdir() if path.name != ".lock"]


@pytest.fixture
def decoding(monkeypatch):
    """The recordings that were decoded while the cache answered."""
    asked = []

    def watch(recording, start, length):
        asked.append(recording.path.name)
        return read_segment(recording, start, length)

    monkeypatch.setattr("audio_denoising.mixing.prepared.read_segment", watch)
    return asked


@pytest.fixture
def voices(write, tmp_path) -> list[Recording]:
    """Four recordings of half a second each."""
    for name in "abcd":
        write(f"speech/{name}.wav", seconds=0.5 + ord(name) / 1000)
    return index_speech(tmp_path / "speech")


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "made" / "x.cache"


# --- the same samples


@pytest.fixture(scope="module")
def tiny(tiny_speech, tiny_noise, tmp_path_factory):
    recordings = tiny_speech + tiny_noise
    path = tmp_path_factory.mktemp("tiny") / "tiny.cache"
    prepare(recordings, path)
    return recordings, opened(path, recordings)


@settings(max_examples=60)
@given(st.data())
def test_every_stretch_of_a_real_corpus_is_that_of_the_whole_recording(tiny, data):
    recordings, cache = tiny
    recording = data.draw(st.sampled_from(recordings))
    start = data.draw(st.integers(0, recording.samples - 1))
    length = data.draw(st.integers(1, 60_000))
    found = cache.read_segment(recording, start, length)
    assert type(found) is np.ndarray
    assert found.dtype == np.float32
    whole = read_segment(recording, 0, recording.samples)
    assert found.tobytes() == whole[start : start + length].tobytes()
    decoded = read_segment(recording, start, length)
    assert found.shape == decoded.shape
    if recording.path.suffix == ".flac" and recording.rate == RATE:
        assert found.tobytes() == decoded.tobytes()
    elif recording.path.suffix == ".opus":  # its decoder needs a while to agree with itself
        np.testing.assert_allclose(found, decoded, atol=0.02)


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("x.wav", {}, EXACT),
        ("x.flac", {}, EXACT),
        ("x.flac", {"channels": 2}, FLOAT),  # the mean of two integers may lie between them
        ("x.flac", {"subtype": "PCM_24"}, FLOAT),
        ("x.wav", {"subtype": "FLOAT"}, FLOAT),
        ("x.wav", {"samples": np.array([-1.0, 0.0, 0.5, 32767 / 32768])}, FLOAT),
        ("x.wav", {"samples": np.full(90, 1.5), "subtype": "FLOAT"}, FLOAT),
        ("x.wav", {"samples": np.array([0.5] * 9 + [1 / 3]), "subtype": "FLOAT"}, FLOAT),
        ("x.wav", {"samples": np.full(90, -0.0), "subtype": "FLOAT"}, FLOAT),
        ("x.wav", {"samples": np.zeros(90)}, EXACT),
    ],
)  # fmt: skip
def test_at_16_khz_the_bits_are_the_same(write, tmp_path, place, name, options, kind):
    write(name, **{"seconds": 4.0, **options})
    recordings = index_speech(tmp_path)
    prepare(recordings, place)
    cache = opened(place, recordings)
    (entry,) = cache.entries.values()
    assert entry.kind == kind
    for start in (0, 1, 3, 30_001):
        if start < recordings[0].samples:
            found = cache.read_segment(recordings[0], start, 20_000)
            assert found.tobytes() == read_segment(recordings[0], start, 20_000).tobytes()


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_at_other_rates_the_last_bits_differ(write, tmp_path, place, rate):
    loud = np.random.default_rng(rate).uniform(-1, 1, (5 * rate, 2))
    write("x.wav", samples=loud, rate=rate, subtype="PCM_24")
    recordings = index_speech(tmp_path)
    prepare(recordings, place)
    cache = opened(place, recordings)
    for start in (0, 777, 20_001, 60_000):
        found = cache.read_segment(recordings[0], start, 40_800)
        np.testing.assert_allclose(
            found, read_segment(recordings[0], start, 40_800), atol=2e-6, rtol=0
        )


def test_nothing_is_decoded_and_workers_map_the_file_themselves(voices, place, decoding):
    prepare(voices, place)
    cache = opened(place, voices)
    expected = [cache.read_segment(recording, 5, 90).tobytes() for recording in voices]
    message = pickle.dumps(cache)
    assert len(message) < 4_000  # the index, not the samples
    there = pickle.loads(message)
    assert [there.read_segment(r, 5, 90).tobytes() for r in voices] == expected
    assert not decoding


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_the_cache_and_without(voices, place, write, tmp_path, workers):
    write("speech/long.flac", seconds=4)
    write("noise/x.flac", seconds=3)
    write("noise/y.wav", seconds=0.7)
    speech, noise = index_speech(tmp_path / "speech"), index_noise(tmp_path / "noise")
    prepare(speech + noise, place)
    found = []
    for reader, count in ((read_segment, 0), (opened(place, speech + noise).read_segment, workers)):
        dataset = MixtureDataset(
            speech, noise, augmentation=PRESETS["varied"], epoch_size=8, reader=reader
        )
        made = batches(dataset, epoch=1, batch_size=4, workers=count)
        found.append([part.numpy().tobytes() for batch in made for part in batch])
    assert found[0] == found[1]


# --- what changed


def test_a_changed_file_is_decoded_and_the_sentence_says_so(voices, place, write, decoding):
    prepare(voices, place)
    assert opened(place, voices).summary == f"4 of 4 recordings are read from {place}"
    os.utime(voices[1].path, ns=(1, 1))  # another time
    samples = np.full(voices[2].samples, 0.25)
    time = voices[2].path.stat().st_mtime_ns
    write("speech/c.wav", samples=samples, subtype="FLOAT")  # another size at the same time
    os.utime(voices[2].path, ns=(time, time))
    cache = opened(place, voices)
    assert cache.summary == (
        f"2 of 4 recordings are read from {place}, the other 2 are decoded; 2 of them changed "
        "since it was made: `denoise data prepare` brings it up to date"
    )
    for recording in voices:
        cache.read_segment(recording, 0, 10)
    assert decoding == ["b.wav", "c.wav"]
    assert cache.read_segment(voices[2], 0, 10) == pytest.approx(0.25)


def test_a_new_file_is_decoded(voices, place, decoding):
    prepare(voices[:3], place)
    cache = opened(place, voices)
    assert cache.summary == f"3 of 4 recordings are read from {place}, the other 1 are decoded"
    assert cache.read_segment(voices[3], 0, 10).any()
    assert decoding == ["d.wav"]


def test_running_again_decodes_only_what_is_missing(voices, place, write):
    first = prepare(voices[:3], place)
    assert (first.decoded, first.kept, first.left_out) == (3, 0, {})
    assert first.bytes == place.stat().st_size
    assert first.seconds == pytest.approx(sum(v.seconds for v in voices[:3]))
    before = place.stat()
    again = prepare(voices[:3], place)
    assert (again.decoded, again.kept, again.bytes) == (0, 3, first.bytes)
    assert (place.stat().st_ino, place.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    os.utime(voices[0].path, ns=(1, 1))
    third = prepare(voices, place)
    assert (third.decoded, third.kept) == (2, 2)
    cache = opened(place, voices)
    for recording in voices:
        found = cache.read_segment(recording, 3, 5_000)
        assert found.tobytes() == read_segment(recording, 3, 5_000).tobytes()


def test_it_holds_what_the_last_run_named_and_each_file_once(voices, place):
    prepare(voices, place)
    prepare([voices[1], voices[2], voices[1]], place)
    assert set(PreparedAudio(place).entries) == {str(voice.path) for voice in voices[1:3]}


def test_faulty_and_long_files_are_left_out_with_the_reason(voices, place, monkeypatch):
    broken = voices[1].path
    broken.write_bytes(broken.read_bytes()[:60])
    voices[2].path.unlink()
    monkeypatch.setattr(preparation, "LONGEST", 0.5995)
    heard = []
    report = prepare(voices, place, lambda done, total: heard.append((done, total)))
    assert (report.decoded, len(report.left_out)) == (1, 3)
    assert "ends early" in report.left_out[broken]
    assert report.left_out[voices[2].path] == "No such file or directory"
    assert "longer" in report.left_out[voices[3].path]
    done, total = heard[-1]
    assert done == total == pytest.approx(sum(voice.seconds for voice in voices[:3]))
    cache = opened(place, [voices[0], voices[3]])
    assert "1 of 2" in cache.summary
    assert cache.read_segment(voices[3], 0, 10).any()


# --- never garbage


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A cache of three tenths of a second: its recordings, its bytes and their samples."""
    folder = tmp_path_factory.mktemp("small")
    for number in range(3):
        samples = np.random.default_rng(number).uniform(-0.3, 0.3, 1_600)
        soundfile.write(folder / f"{number}.wav", samples, RATE, "FLOAT" if number else "PCM_16")
    recordings = index_speech(folder)
    prepare(recordings, folder / "x.cache")
    samples = {each.path: read_segment(each, 0, each.samples).tobytes() for each in recordings}
    return recordings, (folder / "x.cache").read_bytes(), samples


@settings(max_examples=200)
@given(st.data(), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(small, tmp_path_factory, data, bit):
    recordings, content, samples = small
    copy = tmp_path_factory.getbasetemp() / "flipped.cache"
    flipped = bytearray(content)
    # Half of the flips go to the index at the end.
    start = data.draw(st.sampled_from([0, len(content) - 900]))
    flipped[data.draw(st.integers(start, len(content) - 1))] ^= 1 << bit
    copy.write_bytes(flipped)
    try:
        damaged = opened(copy, recordings)
    except UserError as error:
        assert str(copy) in str(error)
        return
    wrong = 0
    for recording in recordings:
        try:
            found = damaged.read_segment(recording, 0, recording.samples)
        except UserError as error:
            assert "damaged" in str(error)
            assert "denoise data prepare" in str(error)
            wrong += 1
        else:
            assert found.tobytes() == samples[recording.path]
    assert wrong == 1


@given(st.data())
@settings(max_examples=60)
def test_a_cache_cut_short_is_noticed(small, tmp_path_factory, data):
    recordings, content, _ = small
    copy = tmp_path_factory.getbasetemp() / "short.cache"
    copy.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UserError, match=r"short\.cache is (cut short|not a cache).*delete it"):
        open_cache(copy, recordings)


def test_running_again_mends_a_damaged_cache(voices, place):
    prepare(voices, place)
    content = bytearray(place.read_bytes())
    content[100] ^= 1
    place.write_bytes(content)
    with pytest.raises(UserError, match="damaged where it holds .*a.wav"):
        opened(place, voices).read_segment(voices[0], 0, 10)
    report = prepare(voices, place)
    assert (report.decoded, report.kept) == (1, 3)
    place.write_bytes(place.read_bytes()[:-5])
    assert prepare(voices, place).decoded == 4
    assert opened(place, voices).read_segment(voices[0], 0, 10).any()


def test_what_is_no_cache_is_neither_read_nor_replaced(voices, place):
    place.parent.mkdir()
    place.write_text("my diary")
    with pytest.raises(UserError, match="is not a cache"):
        open_cache(place, voices)
    with pytest.raises(UserError, match="never replaced"):
        prepare(voices, place)
    assert place.read_text() == "my diary"
    with pytest.raises(UserError, match="is a folder"):
        prepare(voices, place.parent)


def test_a_named_cache_must_exist(voices, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_cache(None, voices) is None
    with pytest.raises(UserError, match=r"x\.cache does not exist.*--out"):
        open_cache(place, voices)


# --- whole or not at all


def test_a_full_disk_is_noticed_beforehand(voices, place, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 50_000, 50_000))
    with pytest.raises(UserError, match=r"x\.cache needs about 0\.0 GB .* free: make room"):
        prepare(voices, place)
    assert not place.parent.exists()


def test_a_disk_that_fills_up_leaves_the_earlier_cache(voices, place, monkeypatch):
    prepare(voices[:2], place)
    before = place.read_bytes()

    def fill(file, entry, samples):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preparation, "_append", fill)
    with pytest.raises(UserError, match=r"x\.cache cannot be written \(No space left"):
        prepare(voices, place)
    assert files(place) == ["x.cache"]
    assert place.read_bytes() == before


def interrupt_after(count: int):
    calls = []

    def progress(done: float, total: float) -> None:
        calls.append(done)
        if len(calls) == count:
            raise KeyboardInterrupt

    return progress


def test_after_ctrl_c_the_next_run_goes_on(voices, place):
    with pytest.raises(KeyboardInterrupt):
        prepare(voices, place, interrupt_after(3))
    assert "3 of 4" in opened(place, voices).summary
    report = prepare(voices, place)
    assert (report.decoded, report.kept) == (1, 3)
    assert files(place) == ["x.cache"]


def test_ctrl_c_in_the_middle_of_a_recording_leaves_nothing_of_it(voices, place, monkeypatch):
    append = preparation._append
    calls = []

    def stop_at_the_third(file, entry, samples):
        calls.append(entry)
        if len(calls) == 3:
            file.write(bytes(10_000))
            raise KeyboardInterrupt
        return append(file, entry, samples)

    monkeypatch.setattr(preparation, "_append", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        prepare(voices, place)
    cache = opened(place, voices)
    assert "2 of 4" in cache.summary
    assert place.stat().st_size < 4 * voices[0].samples + 4_000  # two of 16 bits, and the index
    found = cache.read_segment(voices[1], 0, 9_000)
    assert found.tobytes() == read_segment(voices[1], 0, 9_000).tobytes()


def test_ctrl_c_does_not_trade_a_full_cache_for_less(voices, place, write, tmp_path):
    prepare(voices, place)
    write("noise/x.wav", seconds=0.2)
    others = index_noise(tmp_path / "noise")
    with pytest.raises(KeyboardInterrupt):
        prepare(others, place, interrupt_after(1))
    assert "4 of 4" in opened(place, voices).summary


# --- the command


def test_the_command_fills_the_cache_that_training_finds(voices, write, tmp_path, monkeypatch):
    write("noise/x.wav", seconds=0.2)
    write("more/broken.flac", seconds=0.9)
    write("more/y.wav", seconds=0.3)
    broken = tmp_path / "more" / "broken.flac"
    broken.write_bytes(broken.read_bytes()[:9_000])
    monkeypatch.chdir(tmp_path)
    command = ["prepare", "--speech", "speech=3", "--speech", "more=1", "--noise", "noise"]
    result = CliRunner().invoke(data_app, command)
    assert result.exit_code == 0, result.output
    assert str(DEFAULT) in result.output
    assert "6 recordings" in result.output
    assert "6 decoded now" in result.output
    assert "1 left out" in result.output
    assert "broken.flac" in result.output
    recordings = [*index_speech("speech"), *index_speech("more"), *index_noise("noise")]
    cache = open_cache(None, recordings)
    assert cache is not None
    assert cache.path == DEFAULT
    assert "6 of 7" in cache.summary
    again = CliRunner().invoke(data_app, [*command, "--out", "here.cache"])
    assert "--cache here.cache" in again.output
