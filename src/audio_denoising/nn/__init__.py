"""The from-scratch engine: layers with hand-derived backward passes, losses and optimisers.

Everything is built from plain torch tensor operations (matrix products, element-wise maths, views,
indexing, reductions); nothing here uses torch.nn, torch.optim or autograd, and all of it runs under
`torch.inference_mode()`.

Shapes are written with one legend everywhere:

    N batch      C channels     F frequency bins     T frames      L samples
    K kernel     S stride       P padding            ' (prime) the size after the layer

Images are (N, C, F, T). In memory they are channels-last between the fast layers. Recurrent
features are (T, N, F, C); H is their hidden size; R stands for all axes in front together.

Read `module` (what a layer is), `activations` (the simplest ones), `convolution` (with its readable
im2col), `containers`, `losses` and `optimisers`: that is all that v2 to v4 are made of, but for
`pooling`. Then `linear`, `batch_norm` and `gru`, which v5 adds, and `gradient_check`, which proves
them. `memory` and `fast/` make it fast, `recompute` makes it small, and they change no result.
"""

from audio_denoising.nn.activations import LeakyReLU, RadialTanh, ReLU, Sigmoid, SiLU
from audio_denoising.nn.batch_norm import BatchNorm, BatchNormSiLU, folded, take_statistics
from audio_denoising.nn.containers import Mask, Residual, Sequential, UNetLevel
from audio_denoising.nn.convolution import Conv2d, ConvTranspose2d
from audio_denoising.nn.gradient_check import gradient_check
from audio_denoising.nn.gru import GRU
from audio_denoising.nn.linear import BandMatrix, ChannelBandMatrix, FrequencyConv, Linear
from audio_denoising.nn.losses import L1Loss, Loss, MSELoss
from audio_denoising.nn.module import Buffer, Module, Parameter
from audio_denoising.nn.optimisers import (
    SGD,
    Adam,
    MovingAverage,
    Optimiser,
    Schedule,
    clip_gradient_norm,
    gradient_norm,
)
from audio_denoising.nn.pooling import MaxPool2d
from audio_denoising.nn.recompute import Recompute, recompute_levels

__all__ = [
    "Module", "Parameter", "Buffer", "LeakyReLU", "ReLU", "Sigmoid", "SiLU", "RadialTanh",
    "Conv2d", "ConvTranspose2d", "MaxPool2d", "Linear", "FrequencyConv", "BandMatrix",
    "ChannelBandMatrix", "BatchNorm", "BatchNormSiLU", "GRU", "Sequential", "UNetLevel",
    "Residual", "Mask", "Recompute", "Loss", "MSELoss", "L1Loss", "Optimiser", "SGD", "Adam",
    "Schedule", "MovingAverage", "clip_gradient_norm", "gradient_norm", "gradient_check",
    "folded", "take_statistics", "recompute_levels",
]  # fmt: skip
