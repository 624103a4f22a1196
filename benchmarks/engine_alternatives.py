"""Two common ways to convolve that the engine does not take, written as well as its own.

They keep every other trick (channels last, one sample at a time, buffers used again), so that the
ablation compares one idea with another and not care with carelessness.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audio_denoising.nn.geometry import Pair, output_size
from audio_denoising.nn.memory import empty, scratch


def columns_correlate(x: Tensor, weight: Tensor, bias: Tensor, padding: Pair) -> Tensor:
    """A stride-1 convolution by columns of whole patches. Shapes as in `row_lowering.correlate`."""
    co, ci, kf, kt = weight.shape
    n, _, f, t = x.shape
    (pf, pt), (fo, to) = padding, output_size((f, t), (kf, kt), (1, 1), padding)
    matrix = weight.permute(2, 3, 1, 0).reshape(kf * kt * ci, co)
    y = empty((n, fo * to, co), x)
    padded = x.new_zeros(f + 2 * pf, t + 2 * pt, ci)
    by_f, by_t, by_c = padded.stride()
    patches = padded.as_strided((fo, to, kf, kt, ci), (by_f, by_t, by_f, by_t, by_c))
    for sample, out in zip(x.permute(0, 2, 3, 1), y, strict=True):
        padded[pf : pf + f, pt : pt + t] = sample
        columns = scratch(tuple(patches.shape), x)
        columns.copy_(patches)
        torch.addmm(bias, columns.view(fo * to, -1), matrix, out=out)
    return y.view(n, fo, to, co).permute(0, 3, 1, 2)


def scatter_input_gradient(
    grad_output: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dx by the adjoint of im2col. Shapes as in `row_lowering.input_gradient`."""
    co, ci, kf, kt = weight.shape
    n, _, fo, to = grad_output.shape
    (f, t), (sf, st), (pf, pt) = size, stride, padding
    matrix = weight.permute(0, 2, 3, 1).reshape(co, kf * kt * ci)
    x = empty((n, f, t, ci), grad_output)
    padded = x.new_empty(f + 2 * pf, t + 2 * pt, ci)
    for g, out in zip(grad_output.permute(0, 2, 3, 1), x, strict=True):
        columns = scratch((fo * to, kf * kt * ci), g)
        torch.mm(g.reshape(fo * to, co), matrix, out=columns)
        taps = columns.view(fo, to, kf, kt, ci)
        padded.zero_()
        for i in range(kf):
            for j in range(kt):
                padded[i : i + sf * fo : sf, j : j + st * to : st] += taps[:, :, i, j]
        out.copy_(padded[pf : pf + f, pt : pt + t])
    return x.permute(0, 3, 1, 2)
