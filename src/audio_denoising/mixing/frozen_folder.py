"""A frozen set of mixtures on disk: its options, clean/, noisy/ and a manifest of choices.

The folder appears whole or not at all: it is filled under a temporary name beside its place.
The same choices give the same bytes; no date, path of this machine or random name is in them.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import soundfile

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.corpora.splits import Split, split
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.folders import whole_folder
from audio_denoising.mixing.frozen_options import SUBTYPES, MixOptions, require_free
from audio_denoising.mixing.frozen_set import Choice, draw, long_enough, render

COLUMNS = (
    "id", "clean", "noisy", "split", "seed", "speaker", "speech_file", "samples",
    "noise_source", "noise_file", "noise_offset", "snr_db", "noise_gain", "scale",
)  # fmt: skip


def choose(
    speech: str | os.PathLike[str],
    noise: str | os.PathLike[str],
    options: MixOptions,
    hold_out: Sequence[str] = (),
) -> list[Choice]:
    """Draws the mixtures from two folders, split as training does; UserError if there are none."""
    spoken, noises = index_speech(speech), index_noise(noise)
    splits = split(spoken, noises, hold_out=hold_out)
    chosen = Split(spoken, noises) if options.part == "all" else getattr(splits, options.part)
    where = "" if options.part == "all" else f" in its {options.part} split"
    voices = long_enough(chosen.speech, round(options.shortest * SAMPLE_RATE))
    if not voices:
        raise UserError(
            f"{speech} has no speech of {options.shortest:g} s or more{where}: choose another "
            "--split, or lower --shortest"
        )
    sources = long_enough(chosen.noise, round(options.shortest_noise * SAMPLE_RATE), audible=True)
    if not sources:
        raise UserError(
            f"{noise} has no audible noise of {options.shortest_noise:g} s or more{where}: choose "
            "another --split, or lower --shortest-noise"
        )
    count, levels, longest = options.count, options.snrs_db, options.longest_samples
    return draw(voices, sources, count=count, snrs_db=levels, seed=options.seed, longest=longest)


def write_frozen(
    choices: Sequence[Choice],
    folder: Path,
    options: MixOptions,
    *,
    speech_root: Path,
    noise_root: Path,
    force: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Mixes ``choices`` and writes them below ``folder`` as 16 kHz WAV files.

    The manifest has a line for each, with the columns ``COLUMNS``; its files are named relative
    to ``speech_root`` and ``noise_root``, and ``noisy = scale · (speech + noise_gain · noise)``.

    The choices are those that `choose` draws for ``options``; ``progress`` is told how many are
    written.

    Raises:
        UserError: see `require_free`; or the folder cannot be written to.
    """
    require_free(folder, force=force)
    digits = max(4, len(str(len(choices))))
    rows: list[tuple[object, ...]] = []
    with whole_set(folder) as place:
        for part in ("clean", "noisy"):
            (place / part).mkdir()
        for number, choice in enumerate(choices, 1):
            name = f"{number:0{digits}d}.wav"
            mixed = render(choice, options.longest_samples)
            for part, samples in (("clean", mixed.clean), ("noisy", mixed.noisy)):
                soundfile.write(place / part / name, samples, SAMPLE_RATE, SUBTYPES[options.bits])
            speech, noise = choice.speech, choice.noise
            rows.append((
                f"{number:0{digits}d}", f"clean/{name}", f"noisy/{name}",
                options.part, options.seed, speech.group,
                _relative(speech.path, speech_root), len(mixed.clean),
                noise.group, _relative(noise.path, noise_root), choice.offset,
                f"{choice.snr_db:g}", mixed.noise_gain, mixed.scale,
            ))  # fmt: skip
            progress(number)
        with (place / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root.resolve()).as_posix()


@contextmanager
def whole_set(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of ``folder`` when the block ends well.

    UserError where it cannot be written; what was there is still there.
    """
    try:
        with whole_folder(folder) as fresh:
            yield fresh
    except (OSError, soundfile.SoundFileError, AssertionError) as error:
        # AssertionError: how soundfile reports that fewer samples were written than given.
        reason = getattr(error, "strerror", None) or "the disk may be full"
        raise UserError(
            f"{folder} cannot be written ({reason}): free some space or choose another --out"
        ) from error
