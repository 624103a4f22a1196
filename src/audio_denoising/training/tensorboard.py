"""The figures, pictures and sounds of a training run, written for TensorBoard.

`tensorboard --logdir OUT` shows them while the run goes on; a folder above compares its runs, on
the HPARAMS page by their options. It needs `pip install tensorboard`.

Everything stands at the step of the run that it was found at. A run that goes on from a checkpoint
withdraws what was logged after that checkpoint, so that its curves go on without double points.
An epoch takes about 2.5 MB, most of it spectrograms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from audio_denoising.dsp.spectrum import SAMPLE_RATE, image, stft
from audio_denoising.errors import UserError
from audio_denoising.training.options import TrainingOptions
from audio_denoising.training.progress import Watcher
from audio_denoising.training.run_folder import Row
from audio_denoising.training.trainer import Trainer

STEP_TAGS = {  # of the figures of a step
    "loss": "loss/step",
    "psnr": "psnr_db/step",
    "gradient_norm": "step/gradient_norm",
    "learning_rate": "step/learning_rate",
    "samples_per_second": "step/samples_per_second",
    "skipped": "step/skipped",
}
EPOCH_TAGS = {  # keys of a row of the history
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "train_psnr": "psnr_db/train",
    "validation_psnr": "psnr_db/validation",
    "validation_si_sdr": "si_sdr_db/validation",
    "validation_si_sdr_gain": "si_sdr_db/gain",
}
RULE = 4  # white pixels between two spectrograms
FLUSH_SECONDS = 10


class TensorBoardLog(Watcher):
    """Writes event files into a folder, which is made when the run starts.

    Raises:
        UserError: tensorboard is not installed; later, from any method: the files cannot be
            written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("--tensorboard needs TensorBoard: pip install tensorboard") from error
        self.folder = folder
        self._kind = SummaryWriter
        self._writer: Any = None

    def started(self, trainer: Trainer) -> None:
        """Logs the options, at the first step that is still to come."""
        first = trainer.step + 1
        about = [f"device: {trainer.device}", f"steps of an epoch: {trainer.steps}"]
        about += trainer.material.describe()
        rows = [f"| {name} | `{value}` |\n" for name, value in trainer.options.as_dict().items()]
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = self._kind(str(self.folder), purge_step=first, flush_secs=FLUSH_SECONDS)
            self._writer.add_text("run/about", "".join(f"    {line}\n" for line in about), first)
            table = "| option | value |\n|---|---|\n" + "".join(rows)
            self._writer.add_text("run/options", table, first)
            for summary in _session(trainer.options)[:2]:
                self._writer.file_writer.add_summary(summary, first)
            self._writer.flush()

    def stepped(self, trainer: Trainer, figures: dict[str, float]) -> None:
        """Logs the figures of a step."""
        with self._explained():
            for name, tag in STEP_TAGS.items():
                self._writer.add_scalar(tag, figures[name], trainer.step)

    def finished_epoch(self, trainer: Trainer, row: Row, is_best: bool) -> None:
        """Logs the figures of an epoch, and how the fixed clips look and sound now."""
        step, writer = row["step"], self._writer
        clips = trainer.clips()
        with self._explained():
            for key, tag in EPOCH_TAGS.items():
                writer.add_scalar(tag, row[key], step)
            for number, clip in enumerate(clips, 1):
                # Numbers, because tags are sorted.
                sounds = {"1 noisy": clip.noisy, "2 cleaned": clip.cleaned, "3 clean": clip.clean}
                shown = picture(*(image(stft(sound)) for sound in sounds.values()))
                tag = f"noisy, cleaned, clean/clip {number}"
                writer.add_image(tag, shown, step, dataformats="HWC")
                for name, sound in sounds.items():
                    heard = sound.nan_to_num().clamp(-1, 1)
                    writer.add_audio(f"clip {number}/{name}", heard, step, SAMPLE_RATE)
            writer.flush()

    def ended(self, trainer: Trainer, reason: str) -> None:
        """Writes what is still to be written, and whether the run came to its end."""
        if self._writer is not None:
            with self._explained():
                if reason:
                    end = _session(trainer.options)[2]
                    self._writer.file_writer.add_summary(end, trainer.step)
                self._writer.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write to {self.folder} ({error}): free some space, or train without "
                "--tensorboard"
            ) from error


def _session(options: TrainingOptions) -> list[Any]:
    """What HPARAMS shows of a run: the page's columns, its options, and that it is over."""
    from torch.utils.tensorboard.summary import hparams

    plain = {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in options.as_dict().items()
        if value is not None
    }
    return list(hparams(plain, dict.fromkeys(EPOCH_TAGS.values(), 0)))


def picture(noisy: Tensor, cleaned: Tensor, clean: Tensor) -> np.ndarray:
    """Three images ``(256, T)`` side by side, low frequencies below.

    Colours go from -80 dB to the loudest point of the noisy one, the same in every epoch.

    Returns:
        ``(256, 3 * T + 2 * RULE, 3)``, 8-bit RGB.
    """
    top = float(noisy.max()) or 1.0
    left, middle, right = (_coloured(levels / top) for levels in (noisy, cleaned, clean))
    rule = np.full((len(left), RULE, 3), 255, np.uint8)
    return np.hstack([left, rule, middle, rule, right])


def _coloured(levels: Tensor) -> np.ndarray:
    """Levels (F, T) in [0, 1] as RGB, the highest frequency in the first row."""
    from matplotlib import colormaps

    colours: np.ndarray = colormaps["magma"](levels.flip(0).numpy(), bytes=True)
    return colours[..., :3]
