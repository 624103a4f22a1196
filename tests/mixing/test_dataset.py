"""Item i of epoch e under seed s is always the same sample, and the batches made of it too."""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from audio_denoising.corpora.corpus import Recording, index_noise, index_speech
from audio_denoising.corpora.sources import speech_chances
from audio_denoising.errors import UserError
from audio_denoising.mixing import dataset as dataset_module
from audio_denoising.mixing.augment import PRESETS, Augmentation
from audio_denoising.mixing.dataset import MixtureDataset, batches
from audio_denoising.mixing.mixing import mix, power
from audio_denoising.mixing.preparation import prepare
from audio_denoising.mixing.prepared import open_cache

SEGMENT = 40_800


@pytest.fixture
def tiny(tiny_speech, tiny_noise):
    return lambda **options: MixtureDataset(tiny_speech, tiny_noise, **options)


def collect(dataset, **options):
    return [
        tuple(part.numpy().tobytes() for part in stretches)
        for stretches in batches(dataset, **{"epoch": 3, "batch_size": 2, "seed": 5, **options})
    ]


def mixture(dataset: MixtureDataset, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Clean and noisy, as they are mixed from an item."""
    speech, noise, recipe = dataset[epoch, index]
    return mix(speech, noise, float(recipe[0]))


def test_an_item_depends_on_seed_epoch_and_index_alone(tiny):
    dataset = tiny(seed=1)
    first = dataset[2, 4]
    dataset[0, 0]  # what was asked before does not matter
    for again in (dataset[2, 4], tiny(seed=1)[2, 4]):
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for other in (dataset[2, 5], dataset[3, 4], tiny(seed=2)[2, 4]):
        assert not any(torch.equal(*parts) for parts in zip(first, other, strict=True))
    for part in first[:2]:
        assert part.dtype == torch.float32
        assert part.shape == (SEGMENT,)


def test_the_items_of_earlier_versions_are_still_drawn(tiny):
    # What runs of the first release trained on: they must go on with it.
    speech, noise, recipe = tiny(seed=1)[2, 4]
    assert float(recipe[0]) == 2.2490040242054343
    assert power(speech) == pytest.approx(9.9359e-4, rel=1e-4)
    assert power(noise) == pytest.approx(5.1369e-4, rel=1e-4)


def test_ratios_fill_the_range_and_nothing_clips(tiny):
    dataset = tiny(augmentation=Augmentation(snr_db=(2.0, 7.0)), epoch_size=40)
    ratios = []
    for index in range(len(dataset)):
        clean, noisy = mixture(dataset, 0, index)
        ratios.append(10 * np.log10(power(clean) / power(noisy - clean)))
        assert np.abs(noisy).max() <= 1
    assert 1.99 < min(ratios) < 3.5
    assert 5.5 < max(ratios) < 7.01


@pytest.fixture(scope="module")
def cache(tiny_speech, tiny_noise, tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "prepared.cache"
    recordings = [*tiny_speech, *tiny_noise]
    prepare(recordings, path)
    found = open_cache(path, recordings)
    assert found is not None
    return {"reader": found.read_segment}


@pytest.fixture(params=["original", "varied", "weighted", "cache"])
def variant(request, cache, tiny_speech):
    """Options of a dataset."""
    return {
        "original": {},
        "varied": {"augmentation": PRESETS["varied"]},
        "weighted": {"speech_chances": speech_chances(tiny_speech, [1.0]), "epoch_size": 14},
        "cache": cache,
    }[request.param]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_resuming_change_nothing(tiny, variant, workers):
    whole = collect(tiny(**variant))
    assert len(whole) == len(set(whole)) == 7
    assert collect(tiny(**variant), workers=workers) == whole
    for start in (1, 5):
        assert collect(tiny(**variant), workers=workers, start_batch=start) == whole[start:]


def test_the_cache_changes_no_bit_of_lossless_files(constants, tmp_path, monkeypatch):
    speech, noise = constants
    prepare([*speech, *noise], tmp_path / "prepared.cache")
    found = open_cache(tmp_path / "prepared.cache", [*speech, *noise])
    assert found is not None
    decoded = collect(MixtureDataset(speech, noise))
    monkeypatch.setattr(soundfile, "SoundFile", None)  # nothing is decoded any more
    assert collect(MixtureDataset(speech, noise, reader=found.read_segment)) == decoded


def test_the_cache_changes_little_of_opus(tiny, cache):
    # Where libopus starts to decode in the middle it takes a while to reach the same state.
    for decoded, cached in zip(
        *(batches(tiny(**options), epoch=0, batch_size=5) for options in ({}, cache)), strict=True
    ):
        assert torch.equal(decoded.recipe, cached.recipe)
        for ours, theirs in zip(cached[:2], decoded[:2], strict=True):
            assert (ours - theirs).abs().max() < 2e-3


def test_workers_may_be_spawned(tiny, monkeypatch):
    # macOS and Windows start workers afresh: the dataset must survive the journey.
    dataset = tiny(epoch_size=2)
    expected = collect(dataset)
    spawning = partial(DataLoader, multiprocessing_context=multiprocessing.get_context("spawn"))
    monkeypatch.setattr(dataset_module, "DataLoader", spawning)
    assert collect(dataset, workers=1) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_resumed_without_decoding_what_came_before(tiny, workers, monkeypatch):
    whole = collect(tiny())
    assert len(whole) == 7
    asked = []
    make = MixtureDataset.__getitem__

    def watch(dataset, position):
        asked.append(position)
        return make(dataset, position)

    monkeypatch.setattr(MixtureDataset, "__getitem__", watch)
    assert collect(tiny(), start_batch=5, workers=workers) == whole[5:]
    if workers == 0:
        assert len(asked) == 4
    assert collect(tiny(), start_batch=7) == []


def test_batches_leave_the_global_random_state_alone(tiny):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    collect(tiny(epoch_size=4), workers=1)
    assert torch.equal(torch.rand(1), expected)


def test_batch_sizes_and_order(tiny):
    dataset = tiny(epoch_size=5)
    options = {"epoch": 0, "batch_size": 2}
    assert [len(speech) for speech, _, _ in batches(dataset, **options)] == [2, 2]
    kept = list(batches(dataset, **options, drop_last=False, shuffle=False))
    assert [item.speech.shape for item in kept] == [(2, SEGMENT), (2, SEGMENT), (1, SEGMENT)]
    assert torch.equal(kept[1][1][0], dataset[0, 2][1])
    seeds = [collect(dataset, seed=seed, epoch=0) for seed in (0, 1)]
    assert seeds[0] != seeds[1]


def visited(dataset: MixtureDataset, epoch: int, size: int) -> list[int]:
    """The value of each item's speech, where every recording holds one constant of its own."""
    return [round(float(dataset[epoch, index][0].max()) * 100) for index in range(size)]


@pytest.fixture
def constants(write, tmp_path):
    for value in range(1, 9):
        samples = np.full(50_000, value / 100)
        write(f"speech/{value}.wav", samples=samples, subtype="FLOAT")
    write("noise/x.wav", seconds=4)
    return index_speech(tmp_path / "speech"), index_noise(tmp_path / "noise")


def test_an_epoch_visits_every_recording_once_and_then_starts_over(constants):
    dataset = MixtureDataset(*constants, epoch_size=20)
    first, second = (visited(dataset, epoch, 20) for epoch in (0, 1))
    for epoch in (first, second):
        assert sorted(epoch[:8]) == sorted(epoch[8:16]) == list(range(1, 9))
        assert epoch[:8] != epoch[8:16]
    assert first != second
    assert len(MixtureDataset(*constants)) == 8


def write_pair(write, tmp_path: Path, speech: np.ndarray, noise: np.ndarray) -> MixtureDataset:
    write("speech/x.wav", samples=speech, subtype="FLOAT")
    write("noise/x.wav", samples=noise, subtype="FLOAT")
    return MixtureDataset(index_speech(tmp_path / "speech"), index_noise(tmp_path / "noise"))


def test_short_speech_stands_among_zeros_and_short_noise_loops(write, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 7_001)
    dataset = write_pair(write, tmp_path, np.full(20_000, 0.25), noise)
    starts = set()
    for index in range(4):
        clean, noisy = mixture(dataset, 0, index)
        (inside,) = np.nonzero(clean)
        assert len(inside) == 20_000
        assert inside[-1] - inside[0] == 19_999
        starts.add(int(inside[0]))
        added = noisy - clean
        np.testing.assert_allclose(added[7_001:], added[:-7_001], atol=1e-6)
        assert power(added[-5_000:]) > 0
    assert len(starts) > 1


def test_recordings_of_exactly_one_stretch_and_of_one_sample(write, tmp_path):
    rng = np.random.default_rng(0)
    dataset = write_pair(write, tmp_path, rng.uniform(-0.3, 0.3, SEGMENT), np.array([0.5]))
    clean, noisy = mixture(dataset, 0, 0)
    assert clean.shape == noisy.shape == (SEGMENT,)
    added = noisy - clean
    assert float(added.std()) < 1e-6 < abs(float(added[0]))  # one sample, repeated


def test_silent_stretches_are_passed_over(write, tmp_path):
    speech = np.zeros(3 * SEGMENT)
    speech[:SEGMENT] = 0.2
    write("speech/silent.wav", samples=np.zeros(2 * SEGMENT))
    dataset = write_pair(write, tmp_path, speech, np.full(SEGMENT, 0.1))
    assert all(power(dataset[epoch, 0][0]) > 1e-6 for epoch in range(10))
    assert dataset.damaged == []


def test_nothing_but_silence_is_given_up_gracefully(write, tmp_path):
    dataset = write_pair(write, tmp_path, np.zeros(SEGMENT), np.zeros(SEGMENT))
    speech, noise, _ = dataset[0, 0]
    assert not speech.any() and not noise.any()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_is_skipped_and_remembered(constants, workers):
    speech, noise = constants
    whole = MixtureDataset(speech, noise)
    broken = speech[2].path
    order = visited(whole, 0, 8)
    broken.write_bytes(b"RIFF")
    dataset = MixtureDataset(speech, noise)
    values = visited(dataset, 0, 8)
    for place, (before, after) in enumerate(zip(order, values, strict=True)):
        if before != 3:
            assert after == before
        else:
            assert after == order[(place + 1) % 8]  # the next in line stands in
    fresh = MixtureDataset(speech, noise)
    assert len(collect(fresh, epoch=0, workers=workers)) == 4
    assert fresh.damaged == [broken]


@pytest.mark.parametrize("workers", [0, 1])
def test_when_nothing_can_be_decoded_the_sentence_is_clean(constants, workers):
    speech, noise = constants
    for recording in speech:
        recording.path.write_bytes(b"RIFF")
    sentence = r"^None of 8 recordings.*\.wav.*copy them again\.$"
    with pytest.raises(UserError, match=sentence) as caught:
        collect(MixtureDataset(speech, noise), workers=workers)
    # Whoever keeps the error must not keep the workers: the interpreter would wait for them.
    assert caught.value.__context__ is None
    assert not multiprocessing.active_children()


def test_an_empty_split_says_what_to_do(tiny_noise):
    with pytest.raises(UserError, match="no speech.*--speech"):
        MixtureDataset([], tiny_noise)
    with pytest.raises(UserError, match="no noise.*--noise"):
        MixtureDataset([Recording(Path("x.wav"), "x", 1, 16_000)], [])


def test_noise_is_drawn_by_duration(write, tmp_path):
    write("speech/x.wav", seconds=3)
    write("noise/long.wav", samples=np.full(9 * 16_000, 0.1))
    write("noise/short.wav", samples=np.full(1 * 16_000, -0.1))
    dataset = MixtureDataset(
        index_speech(tmp_path / "speech"), index_noise(tmp_path / "noise"), epoch_size=100
    )
    long = 0
    for index in range(len(dataset)):
        long += float(dataset[0, index].noise.mean()) > 0
    assert 80 <= long <= 99  # nine seconds out of ten
