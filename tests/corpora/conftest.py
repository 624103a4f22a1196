"""What the tests of the data room share: the tiny corpus and a way to write small recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.corpora.corpus import Recording, index_noise, index_speech
from tests.misbehaving_server import MisbehavingServer, running_server

TINY = Path(__file__).parent.parent / "data"

Writer = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_speech() -> list[Recording]:
    return index_speech(TINY / "LibriSpeech")


@pytest.fixture(scope="session")
def tiny_noise() -> list[Recording]:
    return index_noise(TINY / "noise")


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """``write("a/b.wav", seconds=1.0)`` makes a recording of white noise below ``tmp_path``."""

    def make(
        name: str,
        *,
        seconds: float = 0.1,
        rate: int = 16_000,
        channels: int = 1,
        samples: np.ndarray | None = None,
        subtype: str | None = None,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if samples is None:
            shape = (round(seconds * rate), channels)
            samples = np.random.default_rng(len(name)).uniform(-0.3, 0.3, shape)
        form = "OGG" if path.suffix == ".opus" else None
        soundfile.write(path, samples, rate, format=form, subtype=subtype)
        return path

    return make


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    """A server on this machine, reached directly whatever proxy the environment names."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as running:
        yield running
