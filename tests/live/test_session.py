"""The session between the devices: a microphone that this test is, a file and a ring to look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising import Denoiser, UserError
from audio_denoising.live import session as room
from audio_denoising.live.session import Ring, Session
from audio_denoising.media.writing import AudioWriter

RATE = 16_000
HOP = 256
NOISY, _ = soundfile.read("examples/noisy_street.wav", frames=2 * RATE, dtype="float32")


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser("v5", device="cpu")


def speak(
    session: Session,
    sound: np.ndarray,
    writer: AudioWriter,
    after: Callable[[int], None] | None = None,
) -> None:
    """Is the microphone: half a hop at a time, no faster than the session cleans."""
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(session.run, writer)
        for place in range(0, len(sound), HOP // 2):
            session.hear(sound[place : place + HOP // 2].copy())
            while session.samples < min(len(sound), place + HOP // 2) and not work.done():
                time.sleep(0.0002)
            if after is not None:
                after(place)
        session.end()
        work.result()


def saved(
    denoiser: Denoiser, path: Path, sound: np.ndarray, strength: float = 100.0
) -> tuple[np.ndarray, Session]:
    with AudioWriter(path, RATE, 1, subtype="FLOAT") as writer:
        session = Session(denoiser.stream(RATE), (), strength)
        speak(session, sound, writer)
    return soundfile.read(path, dtype="float32")[0], session


@pytest.mark.parametrize("strength", [100.0, 70.0])
def test_the_file_is_what_the_denoiser_makes_of_the_whole(
    denoiser: Denoiser, tmp_path: Path, strength: float
) -> None:
    out, session = saved(denoiser, tmp_path / "talk.wav", NOISY, strength)
    assert out.shape == NOISY.shape
    assert np.abs(out - denoiser(NOISY, RATE, strength=strength)).max() < 1e-5
    assert session.seconds == len(NOISY) / RATE and not session.dropped
    of_all = [10 * np.log10(np.mean(np.square(x))) for x in (NOISY, out, NOISY - out)]
    assert session.levels(overall=True) == pytest.approx(of_all, abs=0.01)


def test_the_switch_neither_moves_the_voice_nor_clicks(denoiser: Denoiser, tmp_path: Path) -> None:
    path, half = tmp_path / "talk.wav", RATE
    with AudioWriter(path, RATE, 1, subtype="FLOAT") as writer:
        session = Session(denoiser.stream(RATE))

        def switch(place: int) -> None:
            session.bypass = place >= half

        speak(session, NOISY, writer, switch)
    out, _ = soundfile.read(path, dtype="float32")
    cleaned = denoiser(NOISY, RATE)
    early, late = half - 2 * HOP, half + 2 * HOP
    assert np.abs(out - cleaned)[:early].max() < 1e-5
    assert np.abs(out - NOISY)[late:].max() < 1e-6
    lowest, highest = np.minimum(cleaned, NOISY) - 1e-5, np.maximum(cleaned, NOISY) + 1e-5
    assert np.all((lowest <= out) & (out <= highest))  # a fade between the two
    share = (out - cleaned)[early:late] / (NOISY - cleaned)[early:late]
    clear = np.abs(NOISY - cleaned)[early:late] > 1e-3
    assert np.abs(np.diff(share[clear])).max() < 0.5


def test_what_is_no_number_is_silence_and_counted(denoiser: Denoiser, tmp_path: Path) -> None:
    damaged, silenced = NOISY.copy(), NOISY.copy()
    damaged[5000:5003] = np.nan, np.inf, -np.inf
    silenced[5000:5003] = 0
    out, session = saved(denoiser, tmp_path / "talk.wav", damaged)
    assert session.damaged == 1
    assert np.abs(out - denoiser(silenced, RATE)).max() < 1e-5


def test_a_microphone_is_never_kept_waiting(denoiser: Denoiser) -> None:
    session = Session(denoiser.stream(RATE))
    for _ in range(100):  # nobody cleans
        session.hear(NOISY[:HOP])
    session.end()
    session.run()
    assert session.dropped > 0
    assert session.samples == (100 - session.dropped) * HOP


def test_a_microphone_that_falls_silent_ends_it_with_the_file_whole(
    denoiser: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_PATIENCE", 0.01)
    with AudioWriter(tmp_path / "talk.wav", RATE, 1) as writer:
        session = Session(denoiser.stream(RATE))
        session.hear(NOISY[:1000])
        with pytest.raises(UserError, match=r"the microphone has given nothing .* plugged in"):
            session.run(writer)
    assert soundfile.info(tmp_path / "talk.wav").frames == 1000


def read(ring: Ring, count: int, channels: int = 1) -> np.ndarray:
    out = np.full((count, channels), 9, np.float32)
    ring.read(out)
    return out


def test_a_ring_gives_back_what_it_was_given_however_it_is_cut() -> None:
    ring, sound = Ring(low=10, high=50), np.arange(1, 1001, dtype=np.float32)
    random, got, place = np.random.default_rng(1), [], 0
    while place < len(sound):
        count = int(random.integers(1, 20))
        ring.write(sound[place : place + count])
        place += count
        got.append(read(ring, min(count, ring.waiting), channels=2))
    got.append(read(ring, ring.waiting, channels=2))
    heard = np.concatenate(got)
    assert np.array_equal(heard[:, 0], heard[:, 1])
    assert np.array_equal(heard[heard[:, 0] > 0, 0], sound)
    assert (ring.dropped, ring.underruns) == (0, 0)


def test_a_ring_plays_silence_until_enough_is_there_and_where_nothing_is() -> None:
    ring = Ring(low=10, high=50)
    ring.write(np.ones(9, np.float32))
    assert not read(ring, 5).any() and ring.underruns == 0
    ring.write(np.ones(1, np.float32))
    assert read(ring, 12)[:, 0].tolist() == 10 * [1] + 2 * [0]
    assert ring.underruns == 1


def test_an_output_that_is_too_slow_loses_whole_blocks_and_stays_in_time() -> None:
    ring, blocks, waiting = Ring(low=16, high=80), 400, []
    heard = []
    for number in range(1, blocks + 1):
        ring.write(np.full(16, number, np.float32))
        heard.append(read(ring, 15))
        waiting.append(ring.waiting)
    sound = np.concatenate((*heard, read(ring, ring.waiting)))[:, 0]
    counts = np.bincount(sound.astype(int), minlength=blocks + 1)[1:]
    assert set(counts) == {0, 16}
    assert ring.dropped == (counts == 0).sum() > 0
    assert max(waiting) <= 80 and ring.underruns == 0
