"""Cleans a 16 kHz mono recording with v5 as ONNX, without audio_denoising and without torch.

pip install numpy soundfile onnxruntime
denoise export v5 v5.onnx && python examples/onnx_clean.py v5.onnx noisy.wav clean.wav

This is all that stands around the network, frame by frame, to be written again in any language.
docs/exchange.md has the formulas; an .onnx of `denoise export --samples` has all this inside.
"""

import sys

import numpy as np
import onnxruntime
import soundfile

RATE, HOP, BINS = 16_000, 256, 256
WINDOW = np.sin(np.pi * np.arange(2 * HOP) / (2 * HOP)) ** 2  # periodic Hann
DUAL = WINDOW / (WINDOW**2 + np.roll(WINDOW, HOP) ** 2)  # makes overlapping frames add up to 1


def features(spectrum: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Spectrum (256) -> what the network hears of one frame of one signal, (1, 1, 64, 12).

    `sums` (2), of the loudness of the frames so far and of its weights, are brought up to date.
    """
    loudness = np.linalg.norm(spectrum) ** 0.3
    sums *= 1 - 0.016 / 1.5
    sums += (loudness, 1) if loudness > 0.16 else (0, 0)
    evening = 1.4 * (sums[1] + 1e-4) / (sums[0] + 1e-4 * 0.16)
    compressed = spectrum * np.maximum(np.abs(spectrum), 1e-5) ** (0.3 - 1) * evening
    parts = np.stack([compressed.real, compressed.imag, np.abs(compressed)], axis=-1)
    return parts.astype(np.float32).reshape(1, 1, 64, 12)


def gains(mask: np.ndarray) -> np.ndarray:
    """The network's answer (1, 1, 64, 8) -> complex gains of 257 bins."""
    pairs = mask.astype(np.float64).reshape(BINS, 2)
    inside = pairs[:, 0] + 1j * pairs[:, 1]
    inside *= np.abs(inside) ** 2
    return np.append(inside, np.abs(inside[-16:]).mean())


def clean(session: onnxruntime.InferenceSession, noisy: np.ndarray) -> np.ndarray:
    """Samples (L,) -> as many cleaned ones, in the same place."""
    hops = -(-len(noisy) // HOP) + 1  # whole ones, and one to end the last frame
    padded = np.zeros(hops * HOP)
    padded[: len(noisy)] = noisy
    shape = [size if isinstance(size, int) else 1 for size in session.get_inputs()[1].shape]
    state = np.zeros(shape, np.float32)  # of one signal
    before, tail, sums, cleaned = np.zeros(HOP), np.zeros(HOP), np.zeros(2), []
    for new in padded.reshape(hops, HOP):
        spectrum = np.fft.rfft(WINDOW * np.concatenate([before, new]))
        inputs = {"features": features(spectrum[:BINS], sums), "state": state}
        mask, state = session.run(["mask", "next_state"], inputs)
        frame = DUAL * np.fft.irfft(spectrum * gains(mask))
        cleaned.append(tail + frame[:HOP])  # the hop before `new`
        before, tail = new, frame[HOP:]
    return np.concatenate(cleaned)[HOP : HOP + len(noisy)]


if __name__ == "__main__":
    model, source, target = sys.argv[1:]
    sound, rate = soundfile.read(source)
    if rate != RATE or sound.ndim != 1:
        sys.exit(f"{source} is not 16 kHz mono: convert it first")
    result = clean(onnxruntime.InferenceSession(model), sound)
    soundfile.write(target, result, RATE, "FLOAT")
