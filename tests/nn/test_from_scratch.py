"""The engine is from scratch: no operator of a training step hides a layer, a loss or an optimiser.

Whole training steps run under a recorder that sees every ATen operator torch dispatches, including
those that a composite operator is made of. A second test reads the source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from audio_denoising import models, nn
from audio_denoising.dsp.compressed_spectrum import hear, sound
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.nn import folded
from audio_denoising.training.learner import build_learner
from audio_denoising.training.options import TrainingOptions
from tests.nn.parity import random_tensor

FORBIDDEN = re.compile(
    r"""
      .*conv.*                                   # convolutions of every kind and library
    | (un)?fold(_.*)? | .*im2col.* | .*col2im.*  # their lowering
    | .*pool.*
    | .*(gru|lstm|rnn).*
    | .*(batch|layer|group|instance)_norm.* | .*rms_norm.*
    | .*_loss.*
    | _fused_.* | .*attention.*
    | .*elu.* | .*silu.* | .*threshold.*         # activations with a name of their own
    | i?stft.*
    | .*_backward.*                              # whatever autograd is made of
    """,
    re.VERBOSE,
)


def forbidden(operators: Iterable[str]) -> list[str]:
    """Those operators that do a layer's work."""
    return sorted(name for name in set(operators) if FORBIDDEN.fullmatch(name))


class Recorder(TorchDispatchMode):
    """Collects the names of the ATen operators, and of those that gave a tensor a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: set[str] = set()
        self.on_autograd: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Called by torch in place of every operator."""
        name = func.overloadpacket.__name__
        self.operators.add(name)
        # Under inference mode a composite operator (conv2d, linear, ...) arrives whole. It is
        # taken apart here, with this recorder on.
        with self:
            result = func.decompose(*args, **(kwargs or {}))
        if result is NotImplemented:
            result = func(*args, **(kwargs or {}))
        tensors = tree_leaves((args, kwargs, result))
        if any(isinstance(t, Tensor) and t.requires_grad for t in tensors):
            self.on_autograd.add(name)
        return result


@pytest.mark.parametrize(
    ("version", "kernels", "inference"),
    [
        *(("v2", "fast", True), ("v3", "reference", True), ("v4", "fast", False)),
        *(("torch", "", True), ("v5", "", True), ("v5", "", False)),
    ],
)
def test_no_operator_of_a_training_step_is_a_layer(
    version: str, kernels: str, inference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very step of `denoise train`: spectrum, network, loss, backward, clipping, optimiser and
    average; then a prediction. The baseline in torch.nn shows what the recorder would find."""
    if not inference:
        monkeypatch.setattr(torch, "inference_mode", lambda mode=True: nullcontext())
    perceptual = 1.0 if version == "v5" else 0.0
    options = TrainingOptions(version, size="small", clip_norm=1.0, perceptual=perceptual)
    learner = build_learner(options, torch.device("cpu"))
    if kernels:
        for layer in learner.model.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.use_kernels(kernels)
    shape = (2, 16 * 256) if version == "v5" else (2, 1, 32, 32)
    noisy, clean = (0.1 * random_tensor(shape, torch.float32, seed).abs() for seed in (1, 2))
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    with Recorder() as recorder:
        heard = learner.representation.hear(noisy) if version == "v5" else noisy
        taken = learner.step(heard, clean, 1e-3)
        if version != "torch":
            nn.MovingAverage([p.data for p in learner.model.parameters()], 0.9).update()
        learner.predict(heard)
    assert bool(torch.isfinite(taken.loss))
    state = learner.model.state_dict()
    assert not [name for name in before if torch.equal(state[name], before[name])]
    if version == "torch":
        assert {"convolution", "convolution_backward"} <= set(forbidden(recorder.operators))
        assert recorder.on_autograd != set()
        return
    assert forbidden(recorder.operators) == []
    assert recorder.on_autograd == set()
    last = "sub_" if version in ("v2", "v3") else "addcdiv_"  # of SGD and of Adam
    assert {"sigmoid", last} <= recorder.operators  # it did see the step


def test_no_operator_of_a_folded_network_is_a_layer() -> None:
    """What v5's cleaning, which is NumPy, is compared with: normalisations folded, then sound."""
    transform = HalfOverlap()
    with torch.inference_mode(), Recorder() as recorder:
        heard = hear(random_tensor((1, 6 * 256), torch.float32, 3), transform)
        fast = folded(models.build("v5", "small"))
        sound(fast(heard.features), heard, transform)
    assert forbidden(recorder.operators) == []
    assert {"tanh", "_fft_r2c", "_fft_c2r"} <= recorder.operators


F = torch.nn.functional


X = random_tensor((2, 3, 8, 8), torch.float32, 1)
SMUGGLED = {
    "conv1d": lambda: F.conv1d(X[0], X[:1, 0, :, :3]),
    "conv_transpose2d": lambda: F.conv_transpose2d(X, X.transpose(0, 1)),
    "unfold of a module": lambda: F.unfold(X, 3),
    "fold": lambda: F.fold(X.view(2, 3, 64)[:, :, :49].repeat(1, 4, 1), 8, 2),
    "max_pool2d": lambda: F.max_pool2d(X, 2),
    "relu": lambda: F.relu(X),
    "silu": lambda: F.silu(X),
    "stft": lambda: torch.stft(X[0, 0], 4, window=X[0, 0, 0, :4], return_complex=True),
    "mse_loss": lambda: F.mse_loss(X, X),
    "l1_loss": lambda: F.l1_loss(X, X + 1),
    "batch_norm": lambda: F.batch_norm(X, None, None, training=True),
    "layer_norm": lambda: F.layer_norm(X, (8,)),
    "gru": lambda: torch.nn.GRU(8, 4)(X[0]),
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_layers_of_the_library_are_caught(name: str) -> None:
    """Under inference mode, where training runs: outside, torch may take a composite operator
    (GRU, L1 loss) apart before any recorder sees it."""
    with torch.inference_mode(), Recorder() as recorder:
        SMUGGLED[name]()
    assert forbidden(recorder.operators) != []


ENGINE = Path(nn.__file__).parent
OF_NETWORKS = [
    "models/unet.py",
    "models/causal.py",
    "models/causal_frames.py",
    "dsp/stft.py",
    "dsp/compressed_spectrum.py",
    "dsp/loudness.py",
]
SOURCES = [*sorted(ENGINE.glob("**/*.py")), *(ENGINE.parent / name for name in OF_NETWORKS)]
FORBIDDEN_IN_SOURCE = re.compile(
    r"torch\.(nn|optim|autograd|jit|func|ops|compile|utils|_dynamo|_VF|_C\._nn)(\..*)?"
    r"|F\..*|.*functional.*"
    r"|(.*\.)?(requires_grad_?|grad_fn|autograd|enable_grad)"
    r"|(torch|x|y|g|grad_output)\.(conv\w*|.*_loss|\w*pool\w*|(un)?fold|\w*relu\w*|\w*norm_\w*)"
    r"|torch\.(\w*(batch|layer|group|instance|rms)_norm\w*|(gru|lstm|rnn)\w*|\w*elu|i?stft)"
)


def names_used(source: str) -> set[str]:
    """Every dotted name and every imported module in the code; text and comments do not count."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute | ast.Name):
            names.add(ast.unparse(node))
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_source_uses_nothing_of_the_library(path: Path) -> None:
    used = names_used(path.read_text(encoding="utf-8"))
    assert [name for name in used if FORBIDDEN_IN_SOURCE.fullmatch(name)] == []


def test_the_reader_of_the_source_is_not_blind() -> None:
    for line in (
        "import torch.nn.functional as F",
        "from torch import nn",
        "y = torch.nn.functional.l1_loss(a, b)",
        "y = torch.ops.aten.convolution(x)",
        "x.requires_grad_()",
        "torch.autograd.grad(y, x)",
        "columns = x.unfold(2, 3, 1)",
        "y = torch._C._nn.silu(x)",
    ):
        assert any(map(FORBIDDEN_IN_SOURCE.fullmatch, names_used(line))), line
        assert not any(map(FORBIDDEN_IN_SOURCE.fullmatch, names_used(f'"""{line}"""  # {line}')))
