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

from audio_denoising.nn.activations import LeakyReLU, RadialTanh, ReLU, Sigmoid, SiLU
from audio_denoising.nn.averaging import MovingAverage
from audio_denoising.nn.batch_norm import BatchNorm, BatchNormSiLU
from audio_denoising.nn.clipping import clip_gradient_norm, gradient_norm
from audio_denoising.nn.containers import Mask, Residual, Sequential, UNetLevel
from audio_denoising.nn.convolution import Conv2d, ConvTranspose2d
from audio_denoising.nn.frequency_convolution import FrequencyConv
from audio_denoising.nn.gradient_check import gradient_check
from audio_denoising.nn.gru import GRU
from audio_denoising.nn.linear import BandMatrix, ChannelBandMatrix, Linear
from audio_denoising.nn.losses import L1Loss, Loss, MSELoss
from audio_denoising.nn.module import Buffer, Module, Parameter
from audio_denoising.nn.optimisers import SGD, Adam, Optimiser
from audio_denoising.nn.pooling import MaxPool2d
from audio_denoising.nn.recompute import Recompute, recompute_levels
from audio_denoising.nn.schedules import Schedule
from audio_denoising.nn.statistics import take_statistics

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
