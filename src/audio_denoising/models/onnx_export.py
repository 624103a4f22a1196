"""Networks as ONNX files, for programs that have neither Python nor torch.

The graph is written by hand from the network's own layers (`onnx_layers`); around v5's there may be
the way from samples to what it hears, and back. docs/exchange.md lists what goes in and comes out.
"""

from __future__ import annotations

from pathlib import Path

import torch
from onnx import ModelProto, TensorProto, helper

from audio_denoising import __version__, nn
from audio_denoising.dsp.constants import FEATURES, OUTPUTS, POSITIONS
from audio_denoising.dsp.frames import (
    BINS,
    FADING,
    FIRST,
    FLOOR,
    GAIN,
    LEVEL,
    POWER,
    SILENCE,
    TOP,
)
from audio_denoising.dsp.signals import SIGNALS
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.files import save_whole
from audio_denoising.models import VERSIONS, blueprint
from audio_denoising.models.header import Checkpoint
from audio_denoising.models.onnx_layers import OPSET, Graph, Shape, express
from audio_denoising.models.versions import require_causal

IR_VERSION = 8  # of the file's own form, as old as `OPSET`


def save_onnx(checkpoint: Checkpoint, path: Path, *, samples: bool = False) -> None:
    """Writes a checkpoint's network as an ONNX file with float32 weights.

    With `samples`, of v5, it is a graph that takes and gives samples, not features and masks.
    UserError for another version, or where the file cannot be written.
    """
    data = onnx_model(checkpoint, samples=samples).SerializeToString()
    save_whole(path, lambda temporary: temporary.write_bytes(data))


def onnx_model(checkpoint: Checkpoint, *, samples: bool = False) -> ModelProto:
    """What `save_onnx` writes."""
    row = VERSIONS[checkpoint.version]
    causal = row.causal
    if samples:
        require_causal(checkpoint.version, "a graph from samples to samples")
    # "torch" has the layers and the names of v4, so the same network of ours holds its weights.
    network = blueprint(checkpoint.version, checkpoint.size)
    network.load_state_dict({name: x.float() for name, x in checkpoint.model_state.items()})
    network = nn.folded(network.eval())
    graph = Graph()
    if causal:
        inputs, outputs = _samples(graph, network) if samples else _frames(graph, network)
    else:
        graph.add("Identity", express(graph, network, "noisy"), name="clean")
        image: Shape = ("images", 1, 256, 256)
        inputs, outputs = {"noisy": image}, {"clean": image}
    name = f"{checkpoint.version}-{checkpoint.size}"
    model = helper.make_model(
        graph.finish(name, inputs, outputs),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="audio_denoising",
        producer_version=__version__,
    )
    signal = dict(SIGNALS[row.hears])
    about = {
        "version": checkpoint.version,
        "size": checkpoint.size,
        "licence": checkpoint.licence,
        "window": signal.pop("fft_size"),
        "window_shape": "periodic Hann",
        **signal,
    }
    helper.set_model_props(model, {key: str(value) for key, value in about.items()})
    return model


Shapes = tuple[dict[str, Shape], dict[str, Shape]]  # of inputs and outputs, by name


def _frames(graph: Graph, network: nn.Module) -> Shapes:
    """Features and states in, masks and states out: any number of frames, so also one."""
    first, last = _network(graph, network)
    features: Shape = ("frames", "signals", POSITIONS, FEATURES)
    mask: Shape = ("frames", "signals", POSITIONS, OUTPUTS)
    return {"features": features, **first}, {"mask": mask, **last}


def _network(graph: Graph, network: nn.Module) -> Shapes:
    """Adds v5's network; the states of its G GRUs go in and come out as one (G, N, F, H)."""
    recurrent = [layer for layer in network.modules() if isinstance(layer, nn.GRU)]
    bands = next(len(m.weight.data) for m in network.modules() if isinstance(m, nn.BandMatrix))
    count, hidden = len(recurrent), recurrent[0].hidden
    rows = graph.add("Reshape", "state", [0, -1, hidden])
    graph.first_states = graph.add_many(count, "Split", rows, axis=0)
    graph.add("Identity", express(graph, network, "features"), name="mask")
    last = graph.add("Concat", *graph.last_states, axis=0)
    graph.add("Reshape", last, [0, -1, bands, hidden], name="next_state")
    shape: Shape = (count, "signals", bands, hidden)
    return {"state": shape}, {"next_state": shape}


def _samples(graph: Graph, network: nn.Module) -> Shapes:
    """Whole hops of samples (N, 256 T) at 16 kHz in, as many out, those of the hop before.

    Between two calls go `overlap` (2, N, 256), the last hop of input and the half-finished hop of
    output, and `loudness` (1, N, 2), the sums of `compressed_spectrum.evening`, beside the states.
    The steps are those of `cleaning.causal`; a transform is a product with a matrix, whose rows are
    what it makes of the unit vectors.
    """
    transform, add = HalfOverlap(dtype=torch.float64), graph.add
    hop, size, bins = transform.hop, transform.size, transform.hop + 1
    analysis = torch.fft.rfft(torch.diag(transform.window))
    units = torch.eye(bins, dtype=torch.float64)
    of_real, of_imaginary = (
        torch.fft.irfft(rows, size) * transform.dual for rows in (units, units * 1j)
    )
    # Blocks (T + 1, N, 256), frames (T, N, 512), spectra (T, N, 257) in real and imaginary parts.
    before, tail = graph.add_many(2, "Split", "overlap", axis=0)
    hops = add("Transpose", add("Reshape", "samples", [0, -1, hop]), perm=[1, 0, 2])
    blocks = add("Concat", before, hops, axis=0)
    frames = add("Concat", _all_but_last(graph, blocks), hops, axis=2)
    real, imaginary = (add("MatMul", frames, part) for part in (analysis.real, analysis.imag))
    _compress(graph, *(add("Slice", x, [0], [BINS], [2]) for x in (real, imaginary)))
    first, last = _network(graph, network)
    gain_real, gain_imaginary = _gains(graph)
    # (a + ib)(c + id) = (ac - bd) + i(ad + bc)
    clean_real = add("Sub", add("Mul", real, gain_real), add("Mul", imaginary, gain_imaginary))
    clean_imag = add("Add", add("Mul", real, gain_imaginary), add("Mul", imaginary, gain_real))
    sound = add("Add", add("MatMul", clean_real, of_real), add("MatMul", clean_imag, of_imaginary))
    early, late = graph.add_many(2, "Split", sound, axis=2)
    begun = add("Concat", tail, late, axis=0)
    done = add("Add", early, _all_but_last(graph, begun))
    add("Reshape", add("Transpose", done, perm=[1, 0, 2]), [0, -1], name="cleaned")
    ends = (add("Slice", x, [-1], [_END], [0]) for x in (blocks, begun))
    add("Concat", *ends, axis=0, name="next_overlap")
    sound_shape: Shape = ("signals", "samples")
    overlap: Shape = (2, "signals", hop)
    loudness: Shape = (1, "signals", 2)
    return (
        {"samples": sound_shape, "overlap": overlap, "loudness": loudness, **first},
        {"cleaned": sound_shape, "next_overlap": overlap, "next_loudness": loudness, **last},
    )


_END = 2**31 - 1  # beyond every axis


def _all_but_last(graph: Graph, x: str) -> str:
    return graph.add("Slice", x, [0], [-1], [0])


def _compress(graph: Graph, real: str, imaginary: str) -> None:
    """What `compressed_spectrum.hear` does: spectra (T, N, 256) -> `features` (T, N, 64, 12)."""
    add = graph.add
    modulus = _modulus(graph, real, imaginary)
    share = add("Pow", add("Clip", modulus, FLOOR), POWER - 1)
    share = add("Mul", share, _evening(graph, modulus))
    parts = (add("Mul", x, share) for x in (real, imaginary, modulus))
    columns = add("Concat", *(add("Unsqueeze", x, [3]) for x in parts), axis=3)
    add("Reshape", columns, [0, 0, POSITIONS, FEATURES], name="features")


def _evening(graph: Graph, modulus: str) -> str:
    """`compressed_spectrum.evening`: moduli (T, N, 256) -> (T, N, 1).

    ONNX has no sum that fades, but a recurrence that can be one: of two features by matrices that
    have only a diagonal. Nothing in it is negative, so that its ReLU does nothing.
    """
    add, one = graph.add, torch.eye(2).unsqueeze(0)
    loudness = add("Pow", add("ReduceL2", modulus, axes=[2]), POWER)
    heard = add("Cast", add("Greater", loudness, SILENCE), to=TensorProto.FLOAT)
    new = add("Concat", add("Mul", loudness, heard), heard, axis=2)
    recurrence = new, one, FADING * one, "", "", "loudness"
    sums, last = graph.add_many(2, "RNN", *recurrence, hidden_size=2, activations=["Relu"])
    add("Identity", last, name="next_loudness")
    first = torch.tensor([FIRST * SILENCE, FIRST])
    sums = add("Add", add("Squeeze", sums, [1]), first)
    total, weight = graph.add_many(2, "Split", sums, axis=2)
    return add("Mul", add("Div", weight, total), LEVEL)


def _gains(graph: Graph) -> tuple[str, str]:
    """The mask (T, N, 64, 8) -> gains (T, N, 257); the last bin has the mean of those below."""
    add = graph.add
    pairs = add("Reshape", "mask", [0, 0, BINS, 2])
    real, imaginary = (add("Gather", pairs, part, axis=3) for part in (0, 1))
    modulus = _modulus(graph, real, imaginary)
    grown = add("Pow", modulus, float(GAIN))
    top = add("Slice", add("Mul", modulus, grown), [-TOP], [_END], [2])
    above = add("ReduceMean", top, axes=[2])
    real = add("Concat", add("Mul", real, grown), above, axis=2)
    return real, add("Pad", add("Mul", imaginary, grown), [0, 0, 0, 0, 0, 1])


def _modulus(graph: Graph, real: str, imaginary: str) -> str:
    squares = (graph.add("Mul", x, x) for x in (real, imaginary))
    return graph.add("Sqrt", graph.add("Add", *squares))
