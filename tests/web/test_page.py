"""The page in a real browser: files go in, sound is compared, clean files come out."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import lfilter

from audio_denoising import denoise_file
from audio_denoising.web.page import page_files, write_page
from tests.web.conftest import EXAMPLES, put, wait

STREET = EXAMPLES / "noisy_street.wav"
IMAGE = EXAMPLES.parent / "docs" / "images" / "page.png"
PLAYING_AT = "player.playing && player.time > 0.2 && player.time"
COUNT_WORK = """const counted = [[Worker, "postMessage"], [AudioBufferSourceNode, "start"]];
for (const [made, name] of counted) {
    const before = made.prototype[name];
    made.prototype[name] = function (...given) {
        window[`calls_${name}`] = (window[`calls_${name}`] ?? 0) + 1;
        return before.apply(this, given);
    };
}"""


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of the noisy street."""
    samples, rate = soundfile.read(STREET, stop=48_000, dtype="int16")
    path = tmp_path_factory.mktemp("street") / "noisy_street.wav"
    soundfile.write(path, samples, rate)
    return path


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    """The page, which must complain of nothing and ask for nothing elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    opened = context.new_page()
    complaints: list[str] = []
    requested: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    context.on("request", lambda sent: requested.append(sent.url))
    opened.add_init_script(COUNT_WORK)
    opened.goto(site)
    yield opened
    context.close()
    assert complaints == []
    assert [url for url in requested if not url.startswith((site, "data:", "blob:"))] == []


def saved(page: Any, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_what_is_saved_is_what_the_command_line_writes(page: Any, tmp_path: Path) -> None:
    put(page, STREET)
    for strength in (100, 40):
        page.locator("#strength").fill(str(strength))
        path = saved(page, "Save WAV", tmp_path)
        assert path.name == "noisy_street_denoised.wav"
        expected = tmp_path / "expected.wav"
        denoise_file(STREET, expected, "v5", device="cpu", strength=strength, force=True)
        samples, rate = soundfile.read(path)
        wanted, wanted_rate = soundfile.read(expected)
        assert (rate, samples.shape) == (wanted_rate, wanted.shape)
        assert soundfile.info(path).subtype == soundfile.info(expected).subtype
        assert np.abs(samples - wanted).max() < 1e-3
    assert page.evaluate("calls_postMessage") == 1  # the network ran once


def test_rate_channels_and_bits_of_a_file_stay(page: Any, tmp_path: Path) -> None:
    stereo, rate = soundfile.read(EXAMPLES / "noisy_summer_night.flac", stop=44100)
    soundfile.write(tmp_path / "one.wav", stereo, rate, subtype="PCM_24")
    soundfile.write(tmp_path / "two.ogg", stereo, rate)
    soundfile.write(tmp_path / "three.flac", stereo, rate)
    put(page, *(tmp_path / name for name in ("one.wav", "two.ogg", "three.flac")))
    shapes = "recordings.map((r) => [r.sound.rate, r.clean.length, r.clean[0].length])"
    assert page.evaluate(shapes) == 3 * [[44100, 2, 44100]]
    info = soundfile.info(saved(page, "Save WAV", tmp_path))
    assert (info.samplerate, info.channels, info.subtype) == (44100, 2, "PCM_24")


def test_a_switch_and_the_strength_are_heard_at_once(page: Any, street: Path) -> None:
    put(page, street)
    page.get_by_role("button", name="Play").click()
    before = wait(page, PLAYING_AT)
    heard = """(keys) => { const times = [player.time];
        for (const [kind, given] of keys) { player[kind](given); times.push(player.time); }
        return times; }"""
    keys = [["choose", "noisy"], ["choose", "removed"], ["setStrength", 0.5], ["choose", "clean"]]
    times = page.evaluate(heard, keys)
    assert before <= times[0] and np.ptp(times) <= 0.02
    page.keyboard.press("1")
    assert page.get_by_role("radio", name="Noisy").get_attribute("aria-checked") == "true"
    page.keyboard.press("2")
    assert page.evaluate("player.choice") == "clean"
    page.locator("#matched").uncheck()
    wait(page, "player.mixers.every((m, i) => Math.abs(m.gain.value - 0.5) < 0.01)")
    page.locator("#strength").fill("80")
    wait(page, "player.mixers.every((m, i) => Math.abs(m.gain.value - [0.2, 0.8][i]) < 0.01)")
    page.keyboard.press("3")
    wait(page, "player.mixers.every((m, i) => Math.abs(m.gain.value - [0.8, -0.8][i]) < 0.01)")
    assert page.evaluate("[calls_start, calls_postMessage]") == [2, 1]  # nothing began anew


def test_sound_comes_out_and_the_mix_is_exact(page: Any, street: Path) -> None:
    """At strength 0 the removed sound is silence: both recordings run at one sample."""
    put(page, street)
    page.evaluate("player.match(false); player.choose('noisy'); player.play()")
    page.evaluate("""() => {
        const sum = new GainNode(player.context);
        window.ear = new AnalyserNode(player.context);
        player.mixers.forEach((mixer) => mixer.connect(sum));
        sum.connect(ear);
        window.loudest = () => {
            const samples = new Float32Array(2048);
            ear.getFloatTimeDomainData(samples);
            return Math.max(...samples.map(Math.abs));
        };
    }""")
    wait(page, "loudest() > 0.05")
    # A recording that nothing was taken from: noisy less clean must cancel to the last bit.
    page.evaluate("""() => {
        const { sound, products } = recordings[0], { channels: noisy, rate } = sound;
        player.load({ noisy, clean: noisy, rate, products });
        player.choose("removed");
        player.play();
    }""")
    wait(page, "player.time > 1.5")
    assert page.evaluate("loudest()") < 1e-6


def test_noisy_and_clean_are_equally_loud(page: Any, street: Path, tmp_path: Path) -> None:
    put(page, street)
    noisy, clean = (soundfile.read(path)[0] for path in (street, saved(page, "Save WAV", tmp_path)))
    gains = [page.evaluate("(which) => player.gains(which)", which) for which in ("noisy", "clean")]
    weighted = [k_weighted(a * noisy + b * clean) for a, b in gains]
    speaking = weighted[1] >= 0.1 * weighted[1].mean()
    levels = [10 * np.log10(blocks[speaking].mean()) for blocks in weighted]
    assert abs(levels[0] - levels[1]) < 1


def k_weighted(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energies of blocks of 400 ms, with the filters as ITU-R BS.1770 prints them for 48 kHz."""
    heard = soxr.resample(samples, 16_000, 48_000)
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285]
    heard = lfilter(shelf, [1, -1.69065929318241, 0.73248077421585], heard)
    heard = lfilter([1, -2, 1], [1, -1.99004745483398, 0.99007225036621], heard)
    return np.square(heard[: len(heard) // 19200 * 19200].reshape(-1, 19200)).mean(1)


def test_everything_goes_without_a_mouse(page: Any, street: Path, tmp_path: Path) -> None:
    # Asked for ahead of the keys: the browser takes its time to hand the dialogue over.
    page.on("filechooser", lambda chooser: chooser.set_files(street))
    page.evaluate("document.hasFocus()")  # its answer comes after that has been asked for
    for key in ("Tab", "Tab"):
        page.keyboard.press(key)
    wait(page, "document.activeElement.id === 'files'")
    page.keyboard.press("Enter")
    wait(page, "recordings[0]?.state === 'ready'")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("]")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("[")
    assert page.evaluate("player.region") == pytest.approx([1, 2])
    page.keyboard.press("Space")
    wait(page, "player.playing && player.time > 1.5")
    assert wait(page, "player.time < 1.4 && player.playing")  # it went round
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    assert page.evaluate("[player.playing, player.region]") == [False, None]
    with page.expect_download():
        page.keyboard.press("s")
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    wanted = "language files record open remove views play matched strength loop-from loop-to save"
    assert set(wanted.split()) <= reached
    page.get_by_role("radio", name="Clean").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.choice") == "removed"


def test_a_click_moves_and_a_stroke_repeats(page: Any, street: Path) -> None:
    put(page, street)
    box = page.locator("#views").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + 90
    page.mouse.click(*middle)
    length = page.evaluate("player.seconds")
    assert page.evaluate("player.time") == pytest.approx(length / 2, abs=0.05)
    page.mouse.down()
    page.mouse.move(middle[0] + box["width"] / 4, middle[1], steps=3)
    page.mouse.up()
    assert page.evaluate("player.region") == pytest.approx([length / 2, 0.75 * length], abs=0.05)
    page.get_by_role("button", name="Whole recording").click()
    assert page.evaluate("player.region") is None


def test_files_can_be_dropped(page: Any, street: Path) -> None:
    page.evaluate(
        """(text) => {
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], "dropped.wav"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
        }""",
        base64.b64encode(street.read_bytes()).decode(),
    )
    wait(page, "recordings[0]?.state === 'ready'")
    assert page.locator("#name").inner_text() == "dropped.wav"
    page.get_by_role("button", name="Remove dropped.wav").click()
    assert page.locator("#stage").is_hidden() and page.locator("#list li").count() == 0


def test_the_microphone_is_cleaned_while_one_speaks(page: Any) -> None:
    page.context.grant_permissions(["microphone"])
    page.locator("#record").click()
    page.locator("#monitor").check()
    wait(page, "document.getElementById('level-out').value > 20")  # above -40 dB
    wait(page, "document.getElementById('recorded').textContent >= '0:02'")
    page.get_by_role("button", name="Stop").click()
    wait(page, "recordings[0]?.state === 'ready'")
    assert page.evaluate("player.seconds") > 1
    assert page.evaluate("Math.max(...recordings[0].clean[0].map(Math.abs))") > 0.01


def test_a_microphone_that_is_not_allowed_is_told(page: Any) -> None:
    page.context.grant_permissions([])
    status = "document.getElementById('status')"
    for _ in range(2):  # what has left is said again
        page.locator("#record").click()
        wait(page, f"{status}.textContent.includes('allow it')")
        wait(page, f"getComputedStyle({status}).visibility === 'visible'")
        page.evaluate(f"{status}.getAnimations().forEach((leaving) => leaving.finish())")
        assert page.evaluate(f"getComputedStyle({status}).visibility") == "hidden"
    assert page.locator("#record").is_visible() and page.locator("#live").is_hidden()


def test_what_is_no_sound_is_told_and_stops_nothing(page: Any) -> None:
    sounds = [
        {"name": "empty.wav", "mimeType": "audio/wav", "buffer": b""},
        {"name": "letter.mp3", "mimeType": "audio/mpeg", "buffer": b"Dear madam, " * 99},
        {"name": "cut.wav", "mimeType": "audio/wav", "buffer": STREET.read_bytes()[:30_000]},
        {"name": "<img src=x onerror=alert(1)>.wav", "mimeType": "", "buffer": b"RIFF"},
    ]
    put(page, *sounds)
    told = page.locator("#list span").all_inner_texts()
    assert "empty" in told[0] and "denoise serve" in told[1] and told[2] == "clean"
    assert page.locator("#list b").all_inner_texts()[3] == sounds[3]["name"]
    assert page.locator("#list img").count() == 0


def test_two_hours_are_too_long_and_the_server_is_offered(page: Any, tmp_path: Path) -> None:
    stereo, mono, packed = (tmp_path / name for name in ("stereo.wav", "mono.wav", "long.flac"))
    for plain, rate, count in (stereo, 48_000, 2), (mono, 16_000, 1):
        soundfile.write(plain, np.zeros((0, count)), rate)
        with plain.open("r+b") as file:
            size = 2 * 3600 * rate * count * 2
            file.seek(40)
            file.write(size.to_bytes(4, "little"))
            file.truncate(44 + size)  # with a hole, which takes no room
    soundfile.write(packed, np.zeros(16_000), 16_000)
    content = bytearray(packed.read_bytes())
    content[22:26] = (2 * 3600 * 16_000).to_bytes(4, "big")  # samples, by the header
    packed.write_bytes(content)
    page.evaluate("""() => {
        const read = Blob.prototype.arrayBuffer;
        window.bytes = 0;
        Blob.prototype.arrayBuffer = function () {
            window.bytes += this.size;
            return read.apply(this);
        };
    }""")
    put(page, stereo, mono, packed)
    assert page.evaluate("bytes") < 10_000  # the headers tell
    told = page.locator("#list span").all_inner_texts()
    assert len(told) == 3 and all("too long" in text and "denoise serve" in text for text in told)


def test_both_languages_say_everything(page: Any, street: Path) -> None:
    put(page, street)
    texts = """[...document.querySelectorAll("[data-word], #list span, #about, #model")]
        .map((element) => element.textContent)"""
    english = page.evaluate(texts)
    page.get_by_role("button", name="한국어").click()
    korean = page.evaluate(texts)
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert all(one != other for one, other in zip(english, korean, strict=True))
    words = page_files()["words.js"].decode().partition("ko: {")
    names = [[line.split(":")[0] for line in part.splitlines()] for part in (words[0], words[2])]
    own = [{name.strip() for name in lines if name.startswith("    ")} for lines in names]
    assert own[0] and own[0] <= own[1]


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_nothing_overflows_and_a_finger_hits_everything(
    page: Any, street: Path, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    put(page, street)
    page.evaluate("player.loop([0, 1]); document.getElementById('live').hidden = false")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = """[...document.querySelectorAll("button, .button, label, input[type=range]")]
        .filter((control) => control.offsetParent && control.clientHeight < 42) // and the border
        .map((control) => control.outerHTML)"""
    assert page.evaluate(small) == []


def test_another_colour_scheme_changes_the_colours_alone(page: Any, street: Path) -> None:
    put(page, street)
    page.evaluate("player.loop([1, 2]); player.time = 1.5")
    first = "document.getElementById('wave-clean').getContext('2d').fillStyle"
    light = page.evaluate(first)
    page.emulate_media(color_scheme="dark")
    wait(page, f"(light) => {first} !== light", light)
    assert page.evaluate("[player.time, player.region]") == [1.5, [1, 2]]


def test_the_page_opens_again_without_a_network(page: Any, street: Path, site: str) -> None:
    listed = page_files()["offline.js"].decode()
    served = {*page_files(), "weights.bin"} - {"index.html", "offline.js"}
    assert all(f'"{name}"' in listed for name in served)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.context.set_offline(True)
    page.reload()
    put(page, street)
    assert page.evaluate("recordings[0].state") == "ready"


def test_opened_as_a_file_it_says_what_to_do(browser: Any, tmp_path: Path) -> None:
    write_page(tmp_path)
    opened = browser.new_page()
    opened.goto((tmp_path / "index.html").as_uri())
    assert "python -m http.server" in opened.locator("#from-file").inner_text()
    opened.close()


def test_the_picture_of_the_readme(page: Any, tmp_path: Path) -> None:
    """Shows the page with a recording; with DENOISE_IMAGES=1 it becomes the README's picture."""
    put(page, STREET, EXAMPLES / "noisy_rain.wav")
    # The button that says Korean in Korean goes: not every machine has the letters.
    page.evaluate("""() => {
        for (const id of ["status", "language"]) document.getElementById(id).hidden = true;
        player.time = 2.4;
    }""")
    page.wait_for_timeout(200)
    page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000  # of one colour it would be smaller
    if os.environ.get("DENOISE_IMAGES"):
        shutil.copy(tmp_path / "page.png", IMAGE)
