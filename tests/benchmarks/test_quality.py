"""The quality benchmark scores what it is given, keeps every score, and writes them whole."""

import json

import numpy as np
import pytest

from audio_denoising.evaluation.testset import Mixture
from benchmarks import quality
from benchmarks.machine import describe_machine

RATE = 16_000


def voice(seed: int) -> np.ndarray:
    time = np.arange(2 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(140 + seed + 30 * np.sin(2 * np.pi * 0.9 * time)) / RATE
    bursts = 0.5 * (1 + np.sin(2 * np.pi * 3 * time)) ** 2
    return (0.05 * bursts * sum(np.sin(k * phase) / k for k in range(1, 25))).astype(np.float32)


@pytest.fixture
def mixtures():
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    pairs = []
    for seed, snr_db in enumerate((0, 15)):
        clean = voice(seed)
        noise = np.random.default_rng(seed).standard_normal(clean.size)
        noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
        noisy = (clean + noise).astype(np.float32)
        pairs.append((Mixture(f"speaker {seed}", "u", "n", 0, snr_db), clean, noisy))
    return pairs


def test_every_candidate_is_scored_on_every_mixture(mixtures):
    cleans = {noisy.tobytes(): clean for _, clean, noisy in mixtures}
    cleaners = {
        "oracle": lambda x, rate: cleans.get(x.tobytes(), x) + 1e-4,
        "idle": lambda x, rate: x,
    }
    results = quality.measure(cleaners, mixtures)
    assert [entry["snr_db"] for entry in results] == [0, 15]
    assert results[0]["seconds"] == 2.0
    assert len({entry["sha256"] for entry in results}) == 2
    for entry in results:
        noisy, oracle = entry["scores"][quality.NOISY], entry["scores"]["oracle"]
        assert noisy == entry["scores"]["idle"]
        assert noisy["si_sdr"] == pytest.approx(entry["snr_db"], abs=0.3)
        assert all(oracle[metric] > noisy[metric] for metric in ("pesq_wb", "stoi", "si_sdr"))


def test_clean_speech_is_sent_through_as_well(mixtures):
    hiss = np.random.default_rng(5).standard_normal(2 * RATE)
    results = quality.measure({"hissing": lambda x, rate: x + 0.1 * x.std() * hiss}, mixtures)
    for entry in results:
        assert entry["clean_through"]["hissing"] == pytest.approx(20.0, abs=0.3)


def test_results_are_written_whole_one_mixture_a_line(tmp_path, mixtures):
    results = {"machine": describe_machine(), "mixtures": quality.measure({}, mixtures)}
    path = tmp_path / "results" / "quality.json"
    quality._write(results, path)
    assert json.loads(path.read_text()) == results
    assert (
        sum(line.lstrip().startswith('{"speaker"') for line in path.read_text().splitlines()) == 2
    )
    assert [entry.name for entry in path.parent.iterdir()] == ["quality.json"]


def test_the_weights_are_known_by_their_content(tmp_path):
    for name, content in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (quality.weights_digest(str(tmp_path / name)) for name in ("a.pth", "b.pth", "c.pth"))
    assert a == b != c and len(a) == 32


def test_the_machine_is_described_without_naming_its_owner():
    machine = describe_machine()
    assert machine["cores"] >= 1 and machine["cpu"]
    assert machine["packages"]["torch"]
    assert not {"user", "host", "node"} & machine.keys()


def test_a_folder_that_is_not_there_ends_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(quality.Denoiser, "from_pretrained", lambda name, device: None)
    gone = str(tmp_path / "gone")
    with pytest.raises(SystemExit, match="gone"):
        quality.main(["--speech", gone, "--noise", gone, "--model", "v4"])
