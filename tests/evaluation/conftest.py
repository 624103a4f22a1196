"""Small corpora with the names of real ones, and sounds that PESQ and STOI take for speech."""

import numpy as np
import pytest
import soundfile

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.evaluation.frozen_lists import CLEAN, HELD_OUT, UNSEEN, Row

RATE = 16_000
ROWS = [
    Row(HELD_OUT, 1, "librispeech/11", "11-1-0000", 80_000, "car horn", "501-1-0-0", 999, 5.0, ""),
    Row(UNSEEN, 1, "librispeech/12", "12-1-0000", 80_000, "modem", "modem-1", 10, 15.0, ""),
    Row(UNSEEN, 2, "librispeech/20", "20-1-0001", 75_200, "talkers", "talkers-1", 0, 0.0, ""),
    Row(CLEAN, 1, "librispeech/13", "13-1-0000", 80_000, "", "", 0, None, ""),
]


def voice(seed: int, seconds: float = 2.3) -> np.ndarray:
    """Bursts of a swept harmonic tone, of a length that DNSMOS hears in one piece (4 × 2.3 s)."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 3 * seed + 30 * np.sin(2 * np.pi * 0.9 * time)) / RATE
    bursts = 0.5 * (1 + np.sin(2 * np.pi * 3 * time)) ** 2
    return (0.05 * bursts * sum(np.sin(k * phase) / k for k in range(1, 25))).astype(np.float32)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """What `ROWS` name of test-other and fold 10, as recordings: speech, noise."""
    root = tmp_path_factory.mktemp("corpora")
    for speaker in (11, 12, 13, 20):
        folder = root / "speech/LibriSpeech/test-other" / str(speaker) / "1"
        folder.mkdir(parents=True)
        for number, seconds in enumerate((5.5, 4.7)):
            path = folder / f"{speaker}-1-000{number}.flac"
            soundfile.write(path, voice(speaker + number, seconds), RATE)
    fold = root / "noise/UrbanSound8K/audio/fold10"
    fold.mkdir(parents=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal(int(2.5 * RATE))
    soundfile.write(fold / "501-1-0-0.wav", noise, RATE)
    return index_speech(root / "speech"), index_noise(root / "noise")


@pytest.fixture
def set_folder(tmp_path):
    """A test set on disk as `denoise data mix` lays it out: two pairs at 5 dB, two at 10 dB."""
    folder = tmp_path / "set"
    rng = np.random.default_rng(3)
    lines = ["id,clean,noisy,noise_file,snr_db"]
    for part in ("clean", "noisy"):
        (folder / part).mkdir(parents=True)
    for number, snr_db in enumerate((5, 10, 5, 10)):
        clean = voice(number)
        noise = rng.standard_normal(clean.size) * clean.std() * 10 ** (-snr_db / 20)
        name = f"{number:04d}.wav"
        soundfile.write(folder / "clean" / name, clean, RATE)
        soundfile.write(folder / "noisy" / name, clean + noise, RATE)
        kind = "fold10/77-3-0-0.wav" if number < 2 else "rain/drops.wav"
        lines.append(f"{number:04d},clean/{name},noisy/{name},{kind},{snr_db}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder
