"""FFmpeg's sound encoders: which sample format, rate, channel order and quality each is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt

from audio_denoising.media.opening import ERRORS

if TYPE_CHECKING:
    from audio_denoising.media.reading import AudioReader

Samples = npt.NDArray[np.float32]

# Bits of the integers that are given to FFmpeg's encoders, and FFmpeg's names for the formats.
_BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "ALAC_16": 16, "ALAC_24": 24, "AMR_NB": 16}
_BITS |= {"PCM_U8": 8, "PCM_S8": 8, "ULAW": 16, "ALAW": 16}
_FORMATS = {8: "u8", 16: "s16", 24: "s32", 32: "s32"}
# Arrangements of the loudspeakers to try where the input does not tell its own.
_LAYOUTS = {
    1: ["mono"],
    2: ["stereo"],
    3: ["3.0", "2.1"],
    4: ["4.0", "quad"],
    5: ["5.0", "5.0(side)"],
    6: ["5.1", "5.1(side)"],
    7: ["6.1", "6.1(back)"],
    8: ["7.1"],
}
UNFLUSHED = {"ac3": 256}
"""Samples that an encoder keeps to itself at the end, unless silence pushes them out."""

# FFmpeg's way to libopus mixes up the channels of 5.0 and 6.1: they must be given like this.
_OPUS_ORDER = {5: [0, 1, 4, 2, 3], 7: [0, 1, 4, 3, 5, 2, 6]}

_LOSSLESS = ("pcm", "flac", "alac")
_MOST_BITS = {"ac3": 640_000, "libopencore_amrnb": 12_200}
# LAME turns the sound down by 0.4 dB at constant bit rates, but not at constant quality: 0 is the
# best; FFmpeg counts in units of 118.
_FINE_MP3 = {"flags": "+qscale", "global_quality": "0"}
_GOOD_MP3 = {"flags": "+qscale", "global_quality": str(2 * 118)}
_MANY_BITS = 200_000


def sample_format(encoder: str, subtype: str) -> str:
    """FFmpeg's sample format for an encoder: floats where it takes them."""
    accepted = [f.name for f in av.codec.Codec(encoder, "w").audio_formats or []]
    wanted = ["fltp", "flt", "dbl"]
    if subtype in _BITS:
        wanted = [_FORMATS[_BITS[subtype]], f"{_FORMATS[_BITS[subtype]]}p"]
    return next(name for name in wanted if name in accepted)


def raw_samples(samples: Samples, name: str, subtype: str) -> npt.NDArray[Any]:
    """Samples ``(channels, n)`` as FFmpeg's packed format ``name``, ``(1, n * channels)``.

    Integers are rounded and clipped.
    """
    if subtype == "OPUS" and len(samples) in _OPUS_ORDER:
        samples = samples[_OPUS_ORDER[len(samples)]]
    raw: npt.NDArray[Any] = samples
    if name == "dbl":
        raw = samples.astype(np.float64)
    elif name != "flt":
        bits = _BITS[subtype]
        scale = 2 ** (bits - 1)
        whole = np.clip(np.rint(samples.astype(np.float64) * scale), -scale, scale - 1)
        if bits == 8:
            raw = (whole + scale).astype(np.uint8)
        elif bits == 16:
            raw = whole.astype(np.int16)
        else:
            raw = whole.astype(np.int32) << (32 - bits)
    return np.ascontiguousarray(raw.T.reshape(1, -1))


def accepted(
    encoder: str, name: str, rate: int, channels: int, *, layout: str, resample: bool
) -> tuple[int, str]:
    """The sample rate and arrangement of channels that an encoder takes, nearest to those given.

    Args:
        encoder: FFmpeg's name.
        name: FFmpeg's sample format.
        rate: sample rate in Hz.
        channels: number of channels.
        layout: arrangement to try first, empty where not known.
        resample: another rate will do where this one is not held.

    Raises:
        ValueError: it takes none of them.
    """
    held = av.codec.Codec(encoder, "w").audio_rates
    if resample and held and rate not in held:
        rate = min((r for r in held if r > rate), default=max(held))
    problem: Exception | None = None
    guesses = [*_LAYOUTS.get(channels, []), f"{channels} channels"]
    if encoder.startswith("pcm"):  # which needs none: nothing is made up
        guesses.reverse()
    for chosen in filter(None, [layout, *guesses]):
        context = av.CodecContext.create(encoder, "w")
        assert isinstance(context, av.AudioCodecContext)
        context.format, context.rate = name, rate
        context.bit_rate = _usual_bits(rate, channels)
        try:
            context.layout = chosen
            context.open()
        except ERRORS as error:
            problem = error
        else:
            return rate, chosen
    raise ValueError(str(problem)) from problem


def bit_rate(
    encoder: str, subtype: str, rate: int, channels: int, source: AudioReader | None
) -> int:
    """Bits in a second for compressed sound: at least those of the source in the same format."""
    if encoder.startswith(_LOSSLESS):
        return 0
    bits = _usual_bits(rate, channels)
    if source is not None and source.subtype == subtype:
        bits = max(bits, source.bit_rate)
    return min(bits, _MOST_BITS.get(encoder, 256_000 * channels))


def quality(encoder: str, bits: int) -> dict[str, str]:
    """FFmpeg's options for an encoder that goes by quality instead of bits in a second."""
    if encoder != "libmp3lame":
        return {}
    return _FINE_MP3 if bits > _MANY_BITS else _GOOD_MP3


def _usual_bits(rate: int, channels: int) -> int:
    return min(96_000, 4 * rate) * channels
