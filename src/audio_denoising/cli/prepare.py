"""The `denoise data prepare` command: decode everything once, so that training need not."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from audio_denoising.cli.data_options import NOISES, SPEECHES, Cache, Noises, Speeches
from audio_denoising.errors import counted
from audio_denoising.folders import refuse_file
from audio_denoising.paths import require_free

console = Console(highlight=False, emoji=False)

_NAMED = 5  # files left out that are named


def prepare(
    speech: Speeches = SPEECHES,
    noise: Noises = NOISES,
    cache: Cache = None,
) -> None:
    """Decode speech and noise once, into the folder that training reads them from.

    16 kHz mono, 115 MB an hour. Run it again when recordings were added or changed, or after
    Ctrl-C: it decodes only what is missing.

    Example:
      denoise data prepare --speech my/voices --noise my/noise
    """
    from audio_denoising.corpora.sources import parse_sources, require_recordings

    voices, sounds = parse_sources(speech, "--speech"), parse_sources(noise, "--noise")
    for sources, what in ((voices, "speech"), (sounds, "noise")):
        for source in sources:
            require_recordings(Path(source.place), what)
    if cache is not None:
        refuse_file(cache, "--cache")
        require_free(cache / "index.json", force=True)

    from rich.progress import Progress

    from audio_denoising.corpora.corpus import index_noise, index_speech
    from audio_denoising.mixing.kept_library import DEFAULT, KeptLibrary

    library = KeptLibrary(cache or DEFAULT)
    try:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("Looking for files", total=None)
            recordings = [
                *index_speech(*(source.place for source in voices)),
                *index_noise(*(source.place for source in sounds)),
            ]
            decoded = library.add(
                recordings,
                lambda done, total: bar.update(
                    task, description="Decoding", completed=done, total=total
                ),
            )
    except KeyboardInterrupt:
        console.print("Stopped; the same command continues where it stopped.")
        raise
    console.print(str(library.folder), style="bold", markup=False, soft_wrap=True)
    hours = sum(recording.seconds for recording in recordings) / 3600
    console.print(
        f"{counted(len(recordings), 'recording')}, {hours:.2f} hours: {decoded:,} decoded now, "
        f"{len(recordings) - decoded:,} there before; {library.bytes / 1e6:,.1f} MB in the folder",
        markup=False,
        soft_wrap=True,
    )
    damaged = library.damaged(recordings)
    if damaged:
        console.print(f"{counted(len(damaged), 'recording')} that cannot be decoded:")
        for path in damaged[:_NAMED]:
            console.print(f"  {path}", markup=False, soft_wrap=True)
    if cache is not None:
        line = f"Train with it: denoise train … --cache {cache}"
        console.print(line, markup=False, soft_wrap=True)
