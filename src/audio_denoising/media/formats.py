"""The files that can be written: which container and codec stand behind each extension.

FFmpeg (through PyAV) writes them, with tags, cover pictures and the order of the loudspeakers;
libsndfile a WAV that has nothing of these, and Vorbis, whose encoder FFmpeg's wheels lack.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from audio_denoising.errors import UserError

LIBSNDFILE = ""  # stands for FFmpeg's encoder where libsndfile does the writing


class CannotHoldError(ValueError):
    """The container cannot hold what the text names, such as ``the picture (h264)``."""


@dataclass(frozen=True)
class Container:
    """A container and the sample formats it keeps, from the first preferred to the last."""

    name: str  # libsndfile's or FFmpeg's
    encoders: dict[str, str]  # sample format in libsndfile's words -> FFmpeg's, or `LIBSNDFILE`
    video: bool = False  # it holds video, subtitles and further sound tracks beside the sound
    pictures: bool = False  # it holds cover pictures
    options: dict[str, str] = field(default_factory=dict)  # FFmpeg's for the container
    lost_frames: int = 0  # that decoders lose at either end; silence is written for them


def _pcm(order: str) -> dict[str, str]:
    """Linear sample formats with FFmpeg's encoders for one byte order, ``le`` or ``be``."""
    bits = {"PCM_16": "s16", "PCM_24": "s24", "PCM_32": "s32", "FLOAT": "f32", "DOUBLE": "f64"}
    return {subtype: f"pcm_{name}{order}" for subtype, name in bits.items()}


_LAW = {"ULAW": "pcm_mulaw", "ALAW": "pcm_alaw"}
_ALAC = {"ALAC_16": "alac", "ALAC_24": "alac"}
_FLAC = {"PCM_16": "flac", "PCM_24": "flac"}
_U8, _S8 = {"PCM_U8": "pcm_u8"}, {"PCM_S8": "pcm_s8"}
_OPUS = {"OPUS": "libopus"}
_LOSSY = {"AAC": "aac", "MPEG_LAYER_III": "libmp3lame", "AC3": "ac3"}
_IN_MKV = {**_LOSSY, **_OPUS, **_pcm("le"), **_FLAC, **_U8, **_LAW}
_PLAIN = {"fflags": "+bitexact"}  # no chunk that tells of FFmpeg: a header of 44 bytes is the rule
_UNSHIFTED = {"avoid_negative_ts": "disabled"}  # else an encoder's delay would move the picture

_OGG = Container("ogg", {"VORBIS": LIBSNDFILE, **_OPUS})
_AIFF = Container("aiff", {**_pcm("be"), **_S8, **_LAW}, options={"write_id3v2": "1"})
_M4A = Container("mp4", {"AAC": "aac", **_ALAC}, pictures=True, options={"brand": "M4A "})
_MP4 = Container("mp4", {**_LOSSY, **_ALAC, **_OPUS}, video=True, pictures=True)
_MOV = Container("mov", {**_LOSSY, **_pcm("le"), **_ALAC, **_LAW}, video=True, pictures=True)
_MKV = Container("matroska", _IN_MKV, video=True, pictures=True, options=_UNSHIFTED)

CONTAINERS: dict[str, Container] = {
    ".wav": Container("wav", {**_pcm("le"), **_U8, **_LAW}, options=_PLAIN),
    ".flac": Container("flac", _FLAC, pictures=True),
    ".ogg": _OGG,
    ".oga": _OGG,
    ".opus": Container("opus", _OPUS),
    ".mp3": Container("mp3", {"MPEG_LAYER_III": "libmp3lame"}, pictures=True),
    ".m4a": _M4A,
    ".m4b": replace(_M4A, options={"brand": "M4B "}),
    ".aac": Container("adts", {"AAC": "aac"}),
    ".wma": Container("asf", {"WMA": "wmav2"}, lost_frames=1),
    ".amr": Container("amr", {"AMR_NB": "libopencore_amrnb"}),
    ".aiff": _AIFF,
    ".aif": _AIFF,
    ".w64": Container("w64", {**_pcm("le"), **_U8}),
    ".caf": Container("caf", {**_pcm("le"), **_S8, **_LAW}),
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _MOV,
    ".mkv": _MKV,
    ".mka": _MKV,
    ".webm": Container("webm", _OPUS, video=True, options=_UNSHIFTED),
}
# Video that can be read but not written: Matroska holds nearly every codec.
_OTHER_VIDEO = (
    ".3g2 .3gp .asf .avi .divx .f4v .flv .m2ts .m2v .mpeg .mpg .mts .mxf .ogv .ts .vob .wmv"
)
_OTHER_AUDIO = ".ac3 .ape .au .awb .dts .eac3 .mp2 .ra .rf64 .snd .tta .wv"

MEDIA_EXTENSIONS = frozenset([*CONTAINERS, *_OTHER_VIDEO.split(), *_OTHER_AUDIO.split()])
"""The lower-case extensions by which recordings are found in a folder."""

# The nearest sample format where the output cannot hold the input's own.
_NEAREST = {
    "PCM_32": "PCM_24", "FLOAT": "PCM_24", "DOUBLE": "PCM_24", "PCM_S8": "PCM_U8",
    "PCM_U8": "PCM_S8", "ALAC_16": "PCM_16", "ALAC_20": "PCM_24", "ALAC_24": "PCM_24",
    "ALAC_32": "PCM_32",
}  # fmt: skip


def container_of(path: Path) -> Container:
    """The container behind an output's extension; UserError where that is unknown."""
    if path.suffix.lower() not in CONTAINERS:
        known = ", ".join(CONTAINERS)
        raise UserError(f"{path} does not end in a known audio format: choose one of {known}")
    return CONTAINERS[path.suffix.lower()]


def choose_format(path: Path, subtype: str) -> tuple[Container, str]:
    """Container and sample format for an output file; UserError for an unknown extension.

    The sample format of the input (``subtype``, in libsndfile's words) is kept where the container
    can hold it; else the nearest one that loses nothing audible.
    """
    container = container_of(path)
    kept = container.encoders
    nearest = _NEAREST.get(subtype, "")
    chosen = subtype if subtype in kept else nearest if nearest in kept else next(iter(kept))
    return container, chosen


def default_output(path: str | Path) -> Path:
    """Where the denoised form of ``path`` goes when nothing is said.

    ``NAME_denoised.wav`` for sound. Video keeps its container where that can be written, such as
    ``NAME_denoised.mp4``, and becomes ``NAME_denoised.mkv`` where it cannot.
    """
    path = Path(path)
    extension = path.suffix.lower()
    if extension in _OTHER_VIDEO.split():
        # Here, not above: FFmpeg's libraries take a moment to load.
        from audio_denoising.media.ffmpeg_reading import is_sound_alone

        chosen = ".wav" if is_sound_alone(path) else ".mkv"
    elif extension in CONTAINERS and CONTAINERS[extension].video and extension != ".mka":
        chosen = path.suffix
    else:
        chosen = ".wav"
    return path.with_name(f"{path.stem}_denoised{chosen}")
