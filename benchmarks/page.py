"""Does the browser's network give Python's result, and how fast: v5 in Chromium and in Python.

python -m benchmarks.page [--seconds 60] [--rounds 3] [--json PATH]

Both clean the same noisy speech, 16 kHz mono, in turns and on one thread: the worker of the page as
`denoise page` writes it, in a headless Chromium (which has to be installed, with playwright), and
`Denoiser`. Loading comes first. Times are by the clock and of the processor; the latter hardly
depend on what else the machine does. A browser whose result is another one is not timed.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_denoising import Denoiser
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.web.page import write_page
from benchmarks.measuring import describe_machine, real_mixtures, report, set_up

TOLERANCE = 1e-3  # of full scale
CLIP = 10  # seconds of each mixture

_OPEN = """async (address) => {
    const worker = new Worker(address + "worker.js", { type: "module" });
    window.clean = (channels, rate) => new Promise((resolve, reject) => {
        worker.onerror = reject;
        worker.onmessage = ({ data }) => {
            if (data.error) reject(new Error(data.error));
            if (data.clean) resolve(data.clean[0]);
        };
        worker.postMessage({ channels, rate });
    });
}"""
_CLEAN = """async ([text, rate]) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const began = performance.now();
    const cleaned = await clean([new Float32Array(bytes.buffer)], rate);
    const seconds = (performance.now() - began) / 1000, out = new Uint8Array(cleaned.buffer);
    let answer = "";
    for (let at = 0; at < out.length; at += 8192) {
        answer += String.fromCharCode(...out.subarray(at, at + 8192));
    }
    return [seconds, btoa(answer)];
}"""

Wave = NDArray[np.float32]
Timed = Callable[[Wave], tuple[Wave, float, float]]  # cleaned, seconds, seconds of the processor


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def in_browser(browser: Any, address: str) -> Timed:
    """Cleans in a worker of a browser that playwright has launched."""
    session, page = browser.new_browser_cdp_session(), browser.new_page()
    page.goto(address + "worker.js")
    page.evaluate(_OPEN, address)

    def worked() -> float:
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        return float(sum(each["cpuTime"] for each in processes if each["type"] == "renderer"))

    def clean(noisy: Wave) -> tuple[Wave, float, float]:
        text, before = base64.b64encode(noisy.tobytes()).decode(), worked()
        seconds, answer = page.evaluate(_CLEAN, [text, SAMPLE_RATE])
        return np.frombuffer(base64.b64decode(answer), np.float32), seconds, worked() - before

    return clean


def in_python() -> Timed:
    """Cleans here."""
    denoiser = Denoiser("v5", device="cpu")

    def clean(noisy: Wave) -> tuple[Wave, float, float]:
        began, worked = time.perf_counter(), time.process_time()
        cleaned = np.asarray(denoiser(noisy, SAMPLE_RATE), np.float32)
        return cleaned, time.perf_counter() - began, time.process_time() - worked

    return clean


def measure(browser: Any, seconds: int, rounds: int) -> dict[str, Any]:
    """Seconds of both in each round, and the largest difference between what they answer.

    Raises:
        UserError: the results differ by more than `TOLERANCE`.
    """
    clips = real_mixtures(-(-seconds // CLIP), CLIP * SAMPLE_RATE)[0]
    noisy = clips.flatten().numpy()[: seconds * SAMPLE_RATE]
    with tempfile.TemporaryDirectory() as folder:
        write_page(Path(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        sides = {"browser": in_browser(browser, address), "python": in_python()}
        for clean in sides.values():
            clean(noisy[:SAMPLE_RATE])  # loads the weights and warms up
        server.shutdown()
        server.server_close()
    found: dict[str, Any] = {side: {"seconds": [], "core_seconds": []} for side in sides}
    for _ in range(rounds):
        answers = []
        for side, clean in sides.items():
            cleaned, elapsed, worked = clean(noisy)
            answers.append(cleaned)
            found[side]["seconds"].append(elapsed)
            found[side]["core_seconds"].append(worked)
        difference = float(np.abs(answers[0] - answers[1]).max())
        if not difference <= TOLERANCE:
            raise UserError(f"the browser's result differs from Python's by {difference:.2g}")
    return {"largest_difference": difference, **found}


def page_sentence(results: Mapping[str, Any]) -> str:
    """The results in words."""
    took = {side: median(results[side]["core_seconds"]) for side in ("browser", "python")}
    length = results["settings"]["seconds"]
    return (
        f"{length} s of noisy speech, 16 kHz mono, take {took['browser']:.1f} s of a processor "
        f"in Chromium (real-time factor {took['browser'] / length:.2f}; Python "
        f"{took['python'] / length:.3f}), and the result differs from Python's by "
        f"{results['largest_difference']:.5f} of full scale at most."
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the results")
    given = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    set_up(threads=1)
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        results = {
            "machine": describe_machine() | {"browser": f"Chromium {browser.version}"},
            "settings": {"seconds": given.seconds, "rounds": given.rounds},
            **measure(browser, given.seconds, given.rounds),
        }
        browser.close()
    report(results, given.json, page_sentence(results))


if __name__ == "__main__":
    main()
