"""Runs the README's first command, and keeps what it prints and a picture of what it makes.

python -m benchmarks.first_command
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from audio_denoising.evaluation.figures import spectrogram_figure
from audio_denoising.files import save_whole
from audio_denoising.media.reading import read_audio
from benchmarks.readme import RESULTS, ROOT

NOISY, CLEAN = Path("examples/noisy_street.wav"), Path("examples/noisy_street_denoised.wav")
PICTURE = Path("docs/images/noisy_street.png")


def main() -> None:
    """Cleans the example, as anyone would, and takes away what that made."""
    command = [sys.executable, "-m", "audio_denoising", "clean", str(NOISY), "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    (ROOT / RESULTS / "sample_output.txt").write_text(done.stdout, encoding="utf-8")
    noisy, rate = read_audio(ROOT / NOISY)
    clean, _ = read_audio(ROOT / CLEAN)
    (ROOT / CLEAN).unlink()
    panels = {f"noisy: {NOISY.name}": noisy[0], f"denoised: {CLEAN.name}": clean[0]}
    figure = spectrogram_figure(panels, rate)
    metadata = {"Software": "audio_denoising"}
    save_whole(ROOT / PICTURE, partial(figure.savefig, format="png", metadata=metadata))
    print(done.stdout, end="")


if __name__ == "__main__":
    main()
