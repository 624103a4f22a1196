"""How recordings are to be cleaned, apart from which: plain values that travel to any worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audio_denoising.cleaning.jobs import Job
from audio_denoising.device import check_device_name
from audio_denoising.dsp.strength import Strength
from audio_denoising.models.shipped import DEFAULT, locate

if TYPE_CHECKING:
    from audio_denoising.cleaning.denoiser import Denoiser
    from audio_denoising.cleaning.recording import Report
    from audio_denoising.cleaning.stream import Progress


@dataclass(frozen=True)
class Settings:
    """The options of a run; those of `Denoiser.from_pretrained` and `Denoiser.denoise_file`.

    Raises:
        UserError: the strength or the limit is out of range, or there is no such model or device.
    """

    model: str = DEFAULT
    device: str = "auto"
    strength: float = 100.0
    limit: float | None = None
    force: bool = False
    in_place: bool = False

    def __post_init__(self) -> None:
        # A wrong one should fail before any work, and before torch is loaded.
        Strength(self.strength, self.limit)
        locate(self.model)
        check_device_name(self.device)

    def load(self) -> Denoiser:
        """The network, with its weights.

        Raises:
            UserError: unknown model or device.
        """
        from audio_denoising.cleaning.denoiser import Denoiser

        return Denoiser.from_pretrained(self.model, self.device)

    def clean(self, denoiser: Denoiser, job: Job, progress: Progress | None = None) -> Report:
        """Cleans one recording; of a damaged one what can be read, see `Report.damage`.

        In place a damaged one is refused: what cannot be read now, another program may still save.

        Raises:
            UserError: the input cannot be read, or an output cannot be written.
        """
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
