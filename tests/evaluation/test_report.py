"""The listening report in a real browser: it plays, switches at one playhead, obeys the keyboard.

Needs Chromium and the package playwright, which drives it; without them these tests are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_denoising.evaluation import report
from audio_denoising.evaluation.comparison import Comparison, Take
from audio_denoising.evaluation.report import write_comparisons

RATE, SECONDS = 16_000, 4.0
STATE = """() => { const r = recordings[0]; const s = r.sounds[r.chosen]; return {
    chosen: r.chosen, playing: r.playing, time: r.time, sounding: r.sounds.map((x) => !x.paused),
    at: s.currentTime, gains: (r.gains ?? []).map((x) => x.value),
    cursor: r.cursor.style.left, now: performance.now() / 1000 }; }"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on two recordings of three takes, the second take 6 dB quieter."""
    time = np.arange(int(SECONDS * RATE)) / RATE
    tone = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[None]
    takes = [
        Take("noisy", tone, {"SI-SDR dB": 1.0, "PESQ": 1.4449, "pauses dB": -30.0}),
        Take("v2", tone / 2, {"SI-SDR dB": 5.0, "PESQ": 1.5, "pauses dB": -50.0, "RTF": 0.01}),
        Take("v4 </script>", tone, {"SI-SDR dB": 9.0, "PESQ": 1.499, "RTF": 0.02}),
    ]
    folder = tmp_path_factory.mktemp("report")
    return write_comparisons([Comparison(f"r{i}.wav", RATE, takes) for i in (1, 2)], folder)


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    complaints: list[str] = []
    requested: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda sent: requested.append(sent.url))
    opened.goto(page_file.as_uri())
    yield opened
    opened.close()
    assert complaints == []
    outside = [url for url in requested if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == []


def playing_beyond(page: Any, seconds: float) -> None:
    page.wait_for_function(f"recordings[0].sounds[recordings[0].chosen].currentTime > {seconds}")


def test_switching_keeps_the_playhead(page: Any) -> None:
    page.keyboard.press("Space")
    playing_beyond(page, 0.3)
    before = page.evaluate(STATE)
    page.keyboard.press("3")
    after = page.evaluate(STATE)
    assert (before["chosen"], after["chosen"]) == (0, 2)
    assert after["playing"]
    assert after["sounding"] == [False, False, True]
    passed = after["now"] - before["now"]
    assert before["at"] - 0.05 <= after["at"] < before["at"] + passed + 0.1
    playing_beyond(page, before["at"] + 0.2)
    page.keyboard.press("Space")
    paused = page.evaluate(STATE)
    assert not paused["playing"]
    assert paused["sounding"] == [False] * 3


def test_keys_and_clicks_move_the_playhead(page: Any) -> None:
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(STATE)["time"] == pytest.approx(2.0)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(STATE)["cursor"] == "25%"
    box = page.locator(".picture").first.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    assert page.evaluate(STATE)["time"] == pytest.approx(3.0, abs=0.05)
    assert "0:03" in page.locator("output").first.inner_text()


def test_loudness_is_matched_until_told_otherwise(page: Any) -> None:
    page.keyboard.press("Space")
    playing_beyond(page, 0.05)
    assert page.evaluate(STATE)["gains"] == pytest.approx([0.5, 1.0, 0.5], abs=0.01)
    page.keyboard.press("l")
    assert page.evaluate(STATE)["gains"] == [1.0, 1.0, 1.0]


def test_sound_comes_out_of_the_graph(page: Any) -> None:
    """A sound that a browser does not take for the page's own would be silence here."""
    page.evaluate("""() => {
        const gainOf = AudioContext.prototype.createGain;
        AudioContext.prototype.createGain = function () {
            const gain = gainOf.call(this);
            gain.connect(window.heard ??= this.createAnalyser());
            return gain;
        };
    }""")
    page.keyboard.press("Space")
    page.wait_for_function("""() => {
        const samples = new Float32Array(2048);
        window.heard?.getFloatTimeDomainData(samples);
        return samples.some((sample) => Math.abs(sample) > 0.05);
    }""")


def test_table_and_buttons_switch_and_mark_the_best(page: Any) -> None:
    page.get_by_role("radio", name="2 v2").first.click()
    assert page.evaluate(STATE)["chosen"] == 1
    page.locator("thead button").nth(2).click()
    assert page.evaluate(STATE)["chosen"] == 2
    assert (
        page.locator(".picture img.shown")
        .first.get_attribute("alt")
        .startswith("Spectrogram of v4")
    )
    table = page.locator("section").first.locator("table")
    assert table.locator("td.best").all_inner_texts() == ["1.50", "1.50", "9.0"]  # as shown
    assert table.locator("tbody td").first.inner_text() == "1.44"  # of 1.4449: rounded once
    assert table.locator("td.shown").all_inner_texts() == ["1.50", "9.0", "–", "0.020"]
    names = table.locator("tbody th b").all_inner_texts()
    assert names == ["PESQ", "SI-SDR dB", "pauses dB", "RTF"]
    told = table.locator("tbody th").all_inner_texts()
    assert all(row.removeprefix(name).strip() for row, name in zip(told, names, strict=True))


def test_on_a_phone_every_column_is_seen_and_a_version_can_be_saved(
    browser: Any, tmp_path: Path
) -> None:
    tone = np.full((1, RATE), 0.1, np.float32)
    names = ("noisy", "v2", "v3", "v4", "torch", "v5", "clean")
    scores = {"SI-SDR dB": -12.3, "RTF": 0.01}
    takes = [Take(name, tone * (1 + n), scores) for n, name in enumerate(names)]
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    opened.goto(write_comparisons([Comparison("one", RATE, takes)], tmp_path).as_uri())
    for box in ("document.documentElement", "document.querySelector('.scroll')"):
        assert opened.evaluate(f"{box}.scrollWidth <= {box}.clientWidth")
    opened.keyboard.press("3")
    with opened.expect_download() as download:
        opened.get_by_role("link", name="Save v3.wav").click()
    samples, rate = soundfile.read(download.value.path())
    assert rate == RATE and samples == pytest.approx(0.3, abs=0.001)
    opened.close()


def test_one_recording_plays_at_a_time(page: Any) -> None:
    buttons = page.locator("button.play")
    buttons.nth(0).click()
    playing_beyond(page, 0.05)
    buttons.nth(1).click()
    page.wait_for_function("recordings[1].playing && !recordings[0].playing")


def test_much_sound_stays_beside_the_page(
    browser: Any, page_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "EMBEDDED_BYTES", 1000)
    tone = np.full((1, RATE), 0.1, np.float32)
    folder = page_file.parent / "beside"
    path = write_comparisons([Comparison("one", RATE, [Take("noisy", tone)])], folder)
    assert not re.search("data:audio", path.read_text())
    opened = browser.new_page()
    opened.goto(path.as_uri())
    opened.keyboard.press("Space")
    playing_beyond(opened, 0.1)
    opened.close()
