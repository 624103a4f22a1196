"""The from-scratch engine: layers with hand-derived backward passes, losses and optimisers.

Everything is built from plain torch tensor operations (matrix products, element-wise maths, views,
indexing, reductions); nothing here uses torch.nn, torch.optim or autograd, and all of it runs under
`torch.inference_mode()`.

Shapes are written with one legend everywhere:

    N batch      C channels     F frequency bins     T frames      L samples
    K kernel     S stride       P padding            ' (prime) the size after the layer

Images are (N, C, F, T). In memory they are channels-last between the fast layers. Recurrent
features are (T, N, F, C); H is their hidden size.
"""

from .activations import LeakyReLU, RadialTanh, ReLU, Sigmoid, SiLU
from .averaging import MovingAverage
from .batch_norm import BatchNorm, BatchNormSiLU
from .clipping import clip_gradient_norm, gradient_norm
from .containers import Mask, Residual, Sequential, UNetLevel
from .convolution import Conv2d, ConvTranspose2d
from .frequency_convolution import FrequencyConv
from .gradient_check import gradient_check
from .gru import GRU
from .linear import BandMatrix, ChannelBandMatrix, Linear
from .losses import L1Loss, Loss, MSELoss
from .module import Buffer, Module, Parameter
from .optimisers import SGD, Adam, Optimiser
from .pooling import MaxPool2d
from .recompute import Recompute, recompute_levels
from .schedules import Schedule
from .statistics import take_statistics

__all__ = [
    "GRU",
    "SGD",
    "Adam",
    "Buffer",
    "BandMatrix",
    "BatchNorm",
    "BatchNormSiLU",
    "ChannelBandMatrix",
    "Conv2d",
    "ConvTranspose2d",
    "FrequencyConv",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "Loss",
    "MSELoss",
    "Mask",
    "MaxPool2d",
    "Module",
    "MovingAverage",
    "Optimiser",
    "Parameter",
    "RadialTanh",
    "ReLU",
    "Recompute",
    "Residual",
    "Schedule",
    "SiLU",
    "Sequential",
    "Sigmoid",
    "UNetLevel",
    "clip_gradient_norm",
    "gradient_check",
    "gradient_norm",
    "recompute_levels",
    "take_statistics",
]
