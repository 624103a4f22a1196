"""v5 in JavaScript gives what v5 in Python gives, at any sample rate and in any blocks."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from audio_denoising import denoise
from audio_denoising.errors import UserError
from audio_denoising.web.page import weights_file
from tests.web.conftest import EXAMPLES

CLEAN = """async ([address, text, rate, cut]) => {
    const { readWeights } = await import(address + "network.js");
    const { Stream } = await import(address + "stream.js");
    const weights = readWeights(await (await fetch(address + "weights.bin")).arrayBuffer());
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const samples = new Float32Array(bytes.buffer), stream = new Stream(weights, rate);
    const parts = [
        stream.push(samples.subarray(0, cut)), stream.push(samples.subarray(cut)), stream.flush(),
    ];
    return parts.flatMap((part) => [...part]);
}"""


@pytest.mark.parametrize("rate", [4_000, 16_000, 44_100])
def test_javascript_answers_what_python_does(browser: Any, site: str, rate: int) -> None:
    samples, recorded = soundfile.read(EXAMPLES / "noisy_summer_night.flac", dtype="float32")
    noisy = soxr.resample(samples[: 3 * recorded // 2, 0], recorded, rate).astype(np.float32)[:-77]
    page = browser.new_page()
    page.goto(site + "stream.js")
    text = base64.b64encode(noisy.tobytes()).decode()
    cleaned = np.array(page.evaluate(CLEAN, [site, text, rate, 1234]), np.float32)
    page.close()
    expected = denoise(noisy, rate, "v5", device="cpu")
    assert cleaned.shape == noisy.shape
    assert np.abs(cleaned - expected).max() < 1e-3
    assert np.abs(noisy - expected).max() > 0.02  # there was something to do


def test_the_weights_are_a_small_file() -> None:
    assert len(weights_file()) <= 400_000


def test_a_network_too_large_for_a_browser_is_refused() -> None:
    with pytest.raises(UserError, match="v4 hears images.*the page in a browser.*choose v5"):
        weights_file("v4")
