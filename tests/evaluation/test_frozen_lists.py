"""The frozen lists are those that were drawn, and mix as listed."""

import hashlib
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from audio_denoising.corpora.held_out import held_out, is_held_out
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.errors import UserError
from audio_denoising.evaluation.frozen_lists import (
    CLEAN,
    FIRST,
    HELD_OUT,
    OTHER,
    QUIET,
    ROOM,
    SECOND,
    UNSEEN,
    FrozenList,
    frozen_items,
    halves,
    items_of_all_lists,
)
from audio_denoising.evaluation.testset import digest
from tests.evaluation.conftest import ROWS

RATE = 16_000


def of(part):
    return [row for row in FIRST.rows() + SECOND.rows() if row.part == part]


def test_the_lists_are_those_that_were_drawn():
    """Figures of another list are other figures."""
    drawn = {FIRST: "00b2a8d597823b806406f48caabe80ea", SECOND: "117b9aa0033f5ecdd20d931936045458"}
    for each, expected in drawn.items():
        text = files("audio_denoising.evaluation").joinpath(each.file).read_text("utf-8")
        assert hashlib.sha256(text.encode()).hexdigest()[:32] == expected
    parts = (HELD_OUT, UNSEEN, CLEAN, OTHER, ROOM, QUIET)
    assert [len(of(part)) for part in parts] == [160, 40, 20, 80, 20, 20]


def test_nobody_talks_over_himself():
    unseen = of(UNSEEN)
    for variant, half in enumerate(halves(FIRST.rows()), 1):
        babbled = {row.speaker for row in unseen if row.noise == f"talkers-{variant}"}
        assert len(half) == 5 and not babbled & half.keys()


def test_no_training_hears_the_second_list():
    rows = SECOND.rows()
    assert all(is_held_out(f"{row.utterance}.opus") for row in rows)
    assert {row.noise for row in rows} == {
        line.removeprefix("noise/") for line in held_out() if line.startswith("noise/")
    }


@pytest.fixture(scope="module")
def items(corpora, tmp_path_factory):
    return frozen_items(ROWS, *corpora, tmp_path_factory.mktemp("noise"))


def test_mixtures_have_the_level_they_are_listed_with(items):
    for row, item in zip(ROWS[:2], items[:2], strict=True):
        clean, noisy, rate = item.source.load()
        assert (clean.dtype, noisy.dtype, rate) == (np.float32, np.float32, RATE)
        assert clean.shape == noisy.shape == (row.samples,)
        snr = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
        assert snr == pytest.approx(row.snr_db, abs=0.01)
    clean, noisy, _ = items[0].source.load()
    assert si_sdr(noisy, clean) == pytest.approx(5.0, abs=0.5)


def test_rooms_and_quiet_mixtures_keep_their_ratio(corpora, tmp_path):
    row = replace(ROWS[0], start=2_000, samples=70_000)
    changed = [row, replace(row, room=0.6), replace(row, level_db=-50.0)]
    items = frozen_items(changed, *corpora, tmp_path)
    (dry, noisy, _), (wet, wetter, _), (soft, quiet, _) = (item.source.load() for item in items)
    assert dry.shape == wet.shape == soft.shape == (70_000,)
    assert 10 * np.log10(np.mean(wet**2) / np.mean((wetter - wet) ** 2)) == pytest.approx(
        5, abs=0.1
    )
    assert 0 < si_sdr(wet, dry) < 6  # half the energy of the direct sound came after it
    assert 10 * np.log10(np.mean(quiet**2)) == pytest.approx(-50, abs=0.01)
    np.testing.assert_allclose(soft / quiet.std(), dry / noisy.std(), atol=1e-4)


def test_lists_whose_recordings_are_not_there_are_left_out(corpora, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="test-other"):
        items_of_all_lists(*corpora, tmp_path)
    rows = {FIRST.file: ROWS, SECOND.file: [replace(ROWS[0], utterance="a/b", noise="c/d")]}
    monkeypatch.setattr(FrozenList, "rows", lambda self: rows[self.file])
    items, lacking = items_of_all_lists(*corpora, tmp_path)
    assert [item.part for item in items] == [row.part for row in ROWS]
    assert len(lacking) == 1 and "a/b among them" in lacking[0] and "held_out.csv" in lacking[0]


def test_clean_speech_has_no_noise(items):
    clean, noisy, _ = items[-1].source.load()
    np.testing.assert_array_equal(clean, noisy)
    assert items[-1].snr_db is None


def test_loading_again_gives_the_same_samples(items, corpora, tmp_path_factory):
    again = frozen_items(ROWS, *corpora, tmp_path_factory.mktemp("again"))
    first, second = ([digest(item.source.load()[1]) for item in each] for each in (items, again))
    assert first == second


def test_another_corpus_is_refused_before_anything_is_mixed(corpora, tmp_path):
    with pytest.raises(UserError, match=r"65 utterances .* --speech .* test-other"):
        frozen_items(FIRST.rows(), *corpora, tmp_path)
    lost = [replace(ROWS[0], noise="1-2-3-4")]
    with pytest.raises(UserError, match=r"1 noise clips .* 1-2-3-4 .* --noise .* fold10"):
        frozen_items(lost, *corpora, tmp_path)
