"""How recordings are to be cleaned, apart from which: plain values that travel to any worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audio_denoising.cleaning.jobs import Job
from audio_denoising.cleaning.recording import Report
from audio_denoising.cleaning.stream import Progress
from audio_denoising.dsp.strength import Strength

if TYPE_CHECKING:
    from audio_denoising.denoiser import Denoiser


@dataclass(frozen=True)
class Settings:
    """The options of a run; those of `Denoiser.from_pretrained` and `Denoiser.denoise_file`.

    Raises:
        UserError: the strength or the limit is out of range.
    """

    model: str = "v4"
    device: str = "auto"
    precision: str = "fp32"
    strength: float = 100.0
    limit: float | None = None
    force: bool = False
    in_place: bool = False

    def __post_init__(self) -> None:
        Strength(self.strength, self.limit)  # a wrong number should fail before any work

    def load(self) -> Denoiser:
        """The network, with its weights.

        Raises:
            UserError: unknown model, device or precision.
        """
        from audio_denoising.denoiser import Denoiser

        return Denoiser.from_pretrained(self.model, self.device, precision=self.precision)

    def clean(self, denoiser: Denoiser, job: Job, progress: Progress | None = None) -> Report:
        """Cleans one recording; of a damaged one what can be read, see `Report.damage`.

        In place a damaged one is refused: what cannot be read now, another program may still save.

        Raises:
            UserError: the input cannot be read, or an output cannot be written.
        """
        job.make_folder()
        return denoiser.denoise_file(
            job.input,
            job.output,
            strength=self.strength,
            limit=self.limit,
            save_noise=job.noise,
            force=self.force,
            in_place=self.in_place,
            salvage=not self.in_place,
            progress=progress,
        )
