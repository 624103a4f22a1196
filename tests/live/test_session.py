"""The session between the devices: a microphone that this test is, a file and a ring to look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising import Denoiser
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
    for _ in range(200):  # nobody cleans
        session.hear(NOISY[:HOP])
    session.end()
    session.run()
    assert session.dropped > 0
    assert session.samples == (200 - session.dropped) * HOP


def test_the_latency_stays_what_it_was_at_the_end(denoiser: Denoiser) -> None:
    ring = Ring(low=10, most=RATE)
    session = Session(denoiser.stream(RATE), [ring])
    ring.write(np.ones(160, np.float32))
    assert session.latency == 0.032 + 0.01
    session.end()
    session.run()
    ring.write(np.ones(1600, np.float32))
    assert session.latency == 0.032 + 0.01


def read(ring: Ring, count: int, channels: int = 1) -> np.ndarray:
    out = np.full((count, channels), 9, np.float32)
    ring.read(out)
    return out


def test_a_ring_gives_back_what_it_was_given_however_it_is_cut() -> None:
    ring, sound = Ring(low=10, most=50), np.arange(1, 1001, dtype=np.float32)
    ring.write(sound[:10])
    random, got, place = np.random.default_rng(1), [read(ring, 5, channels=2)], 10
    while place < len(sound):
        count = int(random.integers(1, 20))
        ring.write(sound[place : place + count])
        place += count
        got.append(read(ring, ring.waiting - 5, channels=2))
    got.append(read(ring, ring.waiting, channels=2))
    heard = np.concatenate(got)
    assert np.array_equal(heard[:, 0], heard[:, 1])
    assert np.array_equal(heard[:, 0], sound)
    assert (ring.dropped, ring.underruns, ring.skipped) == (0, 0, 0)


def test_a_ring_plays_silence_until_enough_is_there_and_where_nothing_is() -> None:
    ring = Ring(low=10, most=50)
    ring.write(np.ones(9, np.float32))
    assert not read(ring, 5).any() and ring.underruns == 0
    ring.write(np.ones(1, np.float32))
    assert read(ring, 12)[:, 0].tolist() == 10 * [1] + 2 * [0]
    assert not read(ring, 12).any() and ring.underruns == 1  # the same one
    ring.write(np.ones(12, np.float32))
    assert read(ring, 12).all()
    ring.ended = True
    assert not read(ring, 12).any() and ring.underruns == 1


class Talk:
    """A slow tone on its way through a ring, in blocks of 16."""

    def __init__(self) -> None:
        self.ring, self.blocks, self.waiting = Ring(low=24, most=1000), 0, [0]
        self.heard = [np.zeros((1, 1), np.float32)]

    def write(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            time = np.arange(16 * self.blocks, 16 * self.blocks + 16)
            self.ring.write(np.sin(time / 200).astype(np.float32))
            self.blocks += 1

    def go_on(self, blocks: int, wanted: int = 16) -> None:
        for _ in range(blocks):
            self.write()
            self.heard.append(read(self.ring, wanted))
            self.waiting.append(self.ring.waiting)

    @property
    def jump(self) -> float:
        return float(np.abs(np.diff(np.concatenate(self.heard)[:, 0])).max())


def test_what_a_burst_leaves_waiting_is_gone_a_second_later_without_a_jump() -> None:
    talk, second = Talk(), 1000 // 16
    talk.go_on(second)
    talk.write(40)
    talk.go_on(1)
    assert talk.waiting[-1] > 600
    talk.go_on(2 * second + 2)
    assert talk.waiting[-1] <= 24 and talk.ring.skipped >= 600
    assert (talk.ring.underruns, talk.ring.dropped) == (0, 0)
    assert talk.jump < 0.2  # of 2 that the tone reaches


def test_an_output_that_is_too_slow_stays_in_time() -> None:
    talk = Talk()
    talk.go_on(1000, wanted=15)
    assert max(talk.waiting) < 24 + 16 + 2 * 1000 // 15
    assert talk.ring.skipped > 800 and talk.jump < 0.2
    assert (talk.ring.underruns, talk.ring.dropped) == (0, 0)


def test_an_output_that_is_a_little_too_quick_never_wants_what_is_not_there() -> None:
    talk = Talk()
    for _ in range(100):
        talk.go_on(31)
        talk.go_on(1, wanted=17)
    assert (talk.ring.underruns, talk.ring.skipped) == (0, 0)
    assert min(talk.waiting) >= 0 and max(talk.waiting) <= 24 and talk.jump < 0.2


def test_an_output_that_stops_loses_blocks_and_is_in_time_soon_after_it_goes_on() -> None:
    talk = Talk()
    talk.go_on(10)
    talk.write(100)
    assert talk.ring.waiting <= 1000 and talk.ring.dropped == 100 - (1000 - talk.waiting[-1]) // 16
    talk.go_on(130)
    assert talk.waiting[-1] <= 24 and talk.ring.underruns == 0


def test_an_output_that_opens_late_begins_with_the_last_second_and_is_in_time_soon() -> None:
    talk = Talk()
    talk.write(100)
    assert talk.ring.waiting == 16 * (1000 // 16) and talk.ring.skipped == 1600 - talk.ring.waiting
    talk.go_on(130)
    assert talk.waiting[-1] <= 24 and (talk.ring.underruns, talk.ring.dropped) == (0, 0)
