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

import torch

from audio_denoising.dsp.spectrum import SAMPLE_RATE, image, stft
from audio_denoising.errors import UserError
from audio_denoising.training.progress import Watcher
from audio_denoising.training.run_folder import Row
from audio_denoising.training.trainer import Trainer

CLIPS = 4  # validation mixtures that are shown and heard
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


class TensorBoardLog(Watcher):
    """Writes event files into a folder, which is made when the run starts.

    Raises:
        UserError: tensorboard is not installed; later, from any method: the files cannot be
            written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
            from torch.utils.tensorboard.summary import hparams
        except ImportError as error:
            raise UserError("--tensorboard needs TensorBoard: pip install tensorboard") from error
        self.folder = folder
        self._kind, self._hparams = SummaryWriter, hparams
        self._writer: Any = None

    def started(self, trainer: Trainer) -> None:
        """Logs the options, at the first step that is still to come."""
        first, options = trainer.step + 1, trainer.options.as_dict()
        about = [f"device: {trainer.device}", f"steps of an epoch: {trainer.steps}"]
        about += trainer.material.describe()
        rows = [f"| {name} | `{value}` |\n" for name, value in options.items()]
        plain = {
            name: value if isinstance(value, str | int | float) else json.dumps(value)
            for name, value in options.items()
            if value is not None
        }
        # What HPARAMS shows of a run: the page's columns, its options, and that it is over.
        figures = dict.fromkeys(EPOCH_TAGS.values(), 0)
        *summaries, self._end = self._hparams(plain, figures)
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = self._kind(str(self.folder), purge_step=first, flush_secs=10)
            self._writer.add_text("run/about", "".join(f"    {line}\n" for line in about), first)
            table = "| option | value |\n|---|---|\n" + "".join(rows)
            self._writer.add_text("run/options", table, first)
            for summary in summaries:
                self._writer.file_writer.add_summary(summary, first)
            self._writer.flush()

    def stepped(self, trainer: Trainer, figures: dict[str, float]) -> None:
        """Logs the figures of a step."""
        with self._explained():
            for name, tag in STEP_TAGS.items():
                self._writer.add_scalar(tag, figures[name], trainer.step)

    def finished_epoch(self, trainer: Trainer, row: Row, is_best: bool) -> None:
        """Logs the figures of an epoch, and how the fixed clips look and sound now."""
        from matplotlib import colormaps

        step, writer = row["step"], self._writer
        hearing, device = trainer.learner.representation, trainer.device
        noisy, clean = (waves[:CLIPS] for waves in trainer.validation.batches[0])
        with trainer.averaged():
            answers = trainer.learner.predict(hearing.hear(noisy.to(device)))
        cleaned = hearing.sound(answers, noisy.to(device)).cpu()
        with self._explained():
            for key, tag in EPOCH_TAGS.items():
                writer.add_scalar(tag, row[key], step)
            for number, clip in enumerate(zip(noisy, cleaned, clean, strict=True), 1):
                # Numbers, because tags are sorted.
                sounds = dict(zip(("1 noisy", "2 cleaned", "3 clean"), clip, strict=True))
                levels = torch.hstack([image(stft(sound)) for sound in sounds.values()])
                # Colours up to the loudest point of the noisy one, the same in every epoch; low
                # frequencies below.
                levels /= levels[:, : levels.shape[1] // 3].max() or 1.0
                shown = colormaps["magma"](levels.flip(0).numpy())[..., :3]
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
                    self._writer.file_writer.add_summary(self._end, trainer.step)
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
