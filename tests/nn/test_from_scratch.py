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
from audio_denoising.dsp.compressed_spectrum import CompressedSpectrumLoss, hear, sound
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.nn import folded
from audio_denoising.training.learner import build_learner
from audio_denoising.training.options import TrainingOptions
from tests.nn.parity import KERNELS, random_tensor

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


def training_step(model: nn.Module, version: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """One step of everything training does with the engine, the loss."""
    row = models.VERSIONS[version]
    noisy, clean = (random_tensor((2, 1, 32, 32), torch.float32, seed).abs() for seed in (1, 2))
    loss = nn.MSELoss() if row.loss == "MSE" else nn.L1Loss()
    optimiser: nn.Optimiser = (
        nn.SGD(model.parameters(), 1e-2, momentum=0.9, weight_decay=1e-4)
        if row.optimiser == "SGD"
        else nn.Adam(model.parameters(), 1e-2, weight_decay=1e-4, decoupled=True)
    )
    optimiser.learning_rate *= nn.Schedule("cosine", 10).factor(3)
    optimiser.zero_grad()
    value = loss(model(noisy), clean)
    model.backward(loss.backward())
    nn.clip_gradient_norm(model.parameters(), 1.0)
    optimiser.step()
    return value


@pytest.mark.parametrize("inference", [True, False], ids=["inference mode", "gradients enabled"])
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("version", ["v2", "v4"])
def test_a_training_step_dispatches_no_forbidden_operator(
    version: str, kernels: str, inference: bool
) -> None:
    model = models.build(version, "small", kernels)
    before = model.state_dict()
    with torch.inference_mode() if inference else nullcontext(), Recorder() as recorder:
        loss = training_step(model, version)
        model.eval()(random_tensor((1, 1, 32, 32), torch.float32, 3))
    assert forbidden(recorder.operators) == []
    assert recorder.on_autograd == set()
    # The recorder did see the step, and the step did something.
    assert {"addmm", "mm", "bmm"} & recorder.operators
    assert {"sigmoid", "_foreach_add_"} <= recorder.operators
    assert bool(torch.isfinite(loss))
    changed = [n for n, p in model.named_parameters() if not torch.equal(p.data, before[n])]
    assert changed == list(before)


@pytest.mark.parametrize("version", ["v2", "v3", "v4", "torch", "v5"])
def test_the_step_of_the_training_loop_does_neither(version: str) -> None:
    """What `denoise train` runs; the baseline in torch.nn shows what the recorder would find."""
    options = TrainingOptions(version, size="small", clip_norm=1.0)
    learner = build_learner(options, torch.device("cpu"))
    if version == "v5":
        noisy, clean = (0.1 * random_tensor((2, 16 * 256), torch.float32, seed) for seed in (1, 2))
        heard = learner.representation.hear(noisy)
    else:
        heard, clean = (random_tensor((2, 1, 32, 32), torch.float32, s).abs() for s in (1, 2))
    with Recorder() as recorder:
        learner.step(heard, clean, 1e-3)
        learner.predict(heard)
    if version == "torch":
        assert {"convolution", "convolution_backward"} <= set(forbidden(recorder.operators))
        assert recorder.on_autograd != set()
    else:
        assert forbidden(recorder.operators) == []
        assert recorder.on_autograd == set()


def training_step_of_v5(network: nn.Module, transform: HalfOverlap) -> Tensor:
    """From waveforms to moved weights; the loss."""
    noisy, clean = (0.1 * random_tensor((2, 6 * 256), torch.float32, seed) for seed in (1, 2))
    loss = CompressedSpectrumLoss(transform)
    matrices = [p for p in network.parameters() if p.data.dim() > 1]
    optimiser = nn.Adam(
        network.parameters(), 1e-2, weight_decay=0.01, decoupled=True, decayed=matrices
    )
    average = nn.MovingAverage([p.data for p in network.parameters()], 0.9)
    heard = hear(noisy, transform)
    value = loss(network(heard.features), heard, clean)
    network.backward(loss.backward())
    nn.clip_gradient_norm(network.parameters(), 3.0)
    optimiser.step()
    average.update()
    return value


@pytest.mark.parametrize("inference", [True, False], ids=["inference mode", "gradients enabled"])
def test_a_training_step_of_v5_dispatches_no_forbidden_operator(inference: bool) -> None:
    """Spectrum, features, network, loss, its adjoint, clipping, AdamW; then how it cleans."""
    network, transform = models.build("v5", "small"), HalfOverlap()
    before = network.state_dict()
    with torch.inference_mode() if inference else nullcontext(), Recorder() as recorder:
        loss = training_step_of_v5(network, transform)
        heard = hear(random_tensor((1, 6 * 256), torch.float32, 3), transform)
        fast = folded(network)
        sound(fast(heard.features), heard, transform)
    assert forbidden(recorder.operators) == []
    assert recorder.on_autograd == set()
    seen = {"mm", "addmm", "bmm", "sigmoid", "tanh", "lerp", "_fft_r2c", "_fft_c2r"}
    assert seen <= recorder.operators
    assert bool(torch.isfinite(loss))
    changed = [n for n in before if not torch.equal(network.state_dict()[n], before[n])]
    assert changed == list(before)


class LibraryConv2d(nn.Conv2d):
    """What must not be in the engine: the forward pass of the library."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C', F', T')."""
        self.keep(x)
        assert self.bias is not None
        return torch.nn.functional.conv2d(
            x, self.weight.data, self.bias.data, self.stride, self.padding
        )


@pytest.mark.parametrize("inference", [True, False], ids=["inference mode", "gradients enabled"])
def test_a_convolution_of_the_library_is_caught(
    inference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn, "Conv2d", LibraryConv2d)
    model = models.build("v4", "small")
    with torch.inference_mode() if inference else nullcontext(), Recorder() as recorder:
        training_step(model, "v4")
    found = forbidden(recorder.operators)
    assert "convolution" in found
    assert ("conv2d" in found) == inference


F = torch.nn.functional


class LibrarySiLU(nn.SiLU):
    def forward(self, x: Tensor) -> Tensor:
        self.keep(x)
        return F.silu(x)


class LibraryBatchNorm(nn.BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        rows = x.reshape(-1, x.shape[-1])
        return F.batch_norm(rows, None, None, self.weight.data, training=True).view(x.shape)


class LibraryGRU(nn.GRU):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        weights = [parameter.data for parameter in self.parameters()]
        rows, state = x.flatten(1, -2), x.new_zeros(1, x[0, ..., 0].numel(), self.hidden)
        return torch.gru(rows, state, weights, True, 1, 0.0, False, False, False)[0].view_as(x)


class LibraryFrequencyConv(nn.FrequencyConv):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        rows = x.flatten(0, -3).transpose(1, 2)
        y = F.conv1d(rows, self.weight.data, padding=1).transpose(1, 2)
        return y.unflatten(0, x.shape[:-2]).contiguous()


@pytest.mark.parametrize(
    ("name", "planted", "operator"),
    [
        ("SiLU", LibrarySiLU, "silu"),
        ("BatchNorm", LibraryBatchNorm, "native_batch_norm"),
        ("GRU", LibraryGRU, "gru"),
        ("FrequencyConv", LibraryFrequencyConv, "convolution"),
    ],
)
def test_a_layer_of_the_library_inside_of_v5_is_caught(
    name: str, planted: type[nn.Module], operator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn, name, planted)
    network = models.build("v5", "small")
    with torch.inference_mode(), Recorder() as recorder:
        training_step_of_v5(network, HalfOverlap())
    assert operator in forbidden(recorder.operators)


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


def test_autograd_and_fused_optimisers_are_caught() -> None:
    """These cannot run under inference mode at all."""
    with Recorder() as recorder:
        weight = X.clone().requires_grad_()
        weight.sigmoid().sum().backward()
        torch.optim.Adam([weight], fused=True).step()
    assert {"sigmoid_backward", "_fused_adam_"} <= set(forbidden(recorder.operators))
    assert "sigmoid" in recorder.on_autograd


ENGINE = Path(nn.__file__).parent
OF_NETWORKS = [
    "models/unet.py",
    "models/causal.py",
    "models/causal_frames.py",
    "dsp/stft.py",
    "dsp/compressed_spectrum.py",
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
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            words = [a.value for a in node.args if isinstance(a, ast.Constant)]
            names |= {f"torch.{word!s}" for word in words}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_source_uses_nothing_of_the_library(path: Path) -> None:
    used = names_used(path.read_text(encoding="utf-8"))
    assert [name for name in used if FORBIDDEN_IN_SOURCE.fullmatch(name)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import torch.nn.functional as F",
        "from torch import nn",
        "from torch.nn.functional import conv2d",
        "y = torch.nn.functional.l1_loss(a, b)",
        "y = torch.conv2d(x, w)",
        "y = torch.ops.aten.convolution(x)",
        "x.requires_grad_()",
        "torch.autograd.grad(y, x)",
        "columns = x.unfold(2, 3, 1)",
        "y = torch.batch_norm(x, w, b)",
        "y = torch._C._nn.silu(x)",
        "y = torch.stft(x, 512)",
        "getattr(torch, 'nn')",
    ],
)
def test_the_reader_of_the_source_is_not_blind(line: str) -> None:
    assert any(FORBIDDEN_IN_SOURCE.fullmatch(name) for name in names_used(line))
    assert not any(FORBIDDEN_IN_SOURCE.fullmatch(n) for n in names_used(f'"""{line}"""  # {line}'))
