"""A test set on disk is read with its levels and kinds of noise, or refused with a sentence."""

from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.dsp.measures import si_sdr
from audio_denoising.errors import UserError
from audio_denoising.evaluation.testset import fitted, folder_items, noise_class

RATE = 16_000
SPEECH = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)


def test_the_noise_class_comes_from_the_file_name():
    assert noise_class("audio/fold10/157800-6-0-0.wav") == "gun shot"
    assert noise_class("esc10/rain/1-17367-A.opus") == "rain"
    assert noise_class("drill.wav") == "noise"


def test_a_folder_of_data_mix_is_read_with_levels_and_kinds(set_folder):
    items = folder_items(set_folder)
    assert [item.snr_db for item in items] == [5, 10, 5, 10]
    assert Counter(item.noise_class for item in items) == {"dog bark": 2, "rain": 2}
    clean, noisy, rate = items[0].source.load()
    assert rate == RATE and clean.shape == noisy.shape
    assert si_sdr(noisy, clean) == pytest.approx(5.0, abs=0.5)


def test_a_folder_without_manifest_is_paired_by_name(set_folder):
    (set_folder / "manifest.csv").unlink()
    items = folder_items(set_folder)
    assert [item.name for item in items] == ["0000", "0001", "0002", "0003"]
    assert {item.snr_db for item in items} == {None}
    (set_folder / "noisy/0002.wav").unlink()
    with pytest.raises(UserError, match=r"0002.wav in only one of clean/ and noisy/"):
        folder_items(set_folder)


def test_stereo_pairs_at_another_rate_and_a_little_off_are_read(set_folder):
    (set_folder / "manifest.csv").unlink()
    rng = np.random.default_rng(0)
    tone = rng.standard_normal((44_100, 2)) * 0.1
    soundfile.write(set_folder / "clean/0000.wav", tone, 44_100)
    soundfile.write(set_folder / "noisy/0000.wav", tone[441:], 44_100)
    clean, noisy, rate = folder_items(set_folder)[0].source.load()
    assert rate == 44_100 and clean.shape == noisy.shape == (44_100 - 441,)  # as the noisy one
    np.testing.assert_allclose(clean, noisy, atol=1e-4)


def test_folders_that_are_no_test_set_are_refused_with_a_sentence(set_folder, tmp_path):
    with pytest.raises(UserError, match=r"has no folder clean: .*denoise data mix"):
        folder_items(tmp_path)
    soundfile.write(set_folder / "clean/0001.wav", np.zeros(RATE), RATE)
    with pytest.raises(UserError, match=r"0001.wav lasts 1.000 s and .*0001.wav 2.300 s"):
        folder_items(set_folder)
    soundfile.write(set_folder / "clean/0001.wav", np.zeros(16_000), 8_000)
    with pytest.raises(UserError, match=r"8000 Hz and .* 16000 Hz"):
        folder_items(set_folder)
    (set_folder / "clean/0001.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"0001.wav"):
        folder_items(set_folder)
    (set_folder / "manifest.csv").write_text("id,clean\n1,clean/0001.wav\n")
    with pytest.raises(UserError, match=r"manifest.csv is not a manifest"):
        folder_items(set_folder)
    (set_folder / "manifest.csv").write_text("id\n")
    with pytest.raises(UserError, match="holds no recordings"):
        folder_items(set_folder)


@given(start=st.integers(0, 700), cut=st.integers(1, 99), noise=st.sampled_from((0, 1)))
def test_the_shift_is_found_and_undone(start, cut, noise):
    other = SPEECH[start : SPEECH.size - cut]
    noisy = SPEECH + noise * np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    np.testing.assert_array_equal(
        fitted(other[None], noisy[None], RATE)[0, start : SPEECH.size - cut], other
    )
    np.testing.assert_array_equal(
        fitted(SPEECH[None], noisy[None, start : SPEECH.size - cut], RATE)[0], other
    )
