"""The fast convolution: images lowered along time only, channels last, one sample at a time.

im2col copies every value K_f K_t times. Here only the K_t neighbours along time are gathered, so
a row of the lowered image holds `K_t C` values per frame, and the K_f kernel rows are K_f matrix
products on *overlapping slices of the same lowered rows*, each adding to the last. The lowered
rows of one sample fit the CPU's caches, live in one shared work area, and are made again for the
weight gradient rather than kept. Images are channels-last in memory ((N, F, T, C) order behind an
(N, C, F, T) view), so a lowered row is a row of a matrix and nothing is ever transposed.

The gradient at the input is a convolution too. Write a padded position as f = S q + a: phase `a`
of the gradient is a stride-1 convolution of dL/dy with every S-th kernel tap, so there is no
scatter-add. The phases along time are computed side by side as S C output channels, which *is*
the interleaved order in memory. The same routine is the forward pass of a transposed convolution.

docs/fast_convolution.md explains each trick with its measured gain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import Pair, output_size
from .memory import empty, scratch

FEW_CHANNELS = 4  # below this a lowered row is too short for a matrix product: see `_stacked`


def _samples_at_once(x: Tensor) -> int:
    """A CPU works best on one sample that stays in its caches, a GPU on the whole batch."""
    return 1 if x.device.type == "cpu" else len(x)


def _channels_last(x: Tensor) -> Tensor:
    """(N, C, F, T) -> a contiguous (N, F, T, C) view, copied only if it lies otherwise."""
    return x.permute(0, 2, 3, 1).contiguous()


def _lower(x: Tensor, columns: Tensor, offsets: list[int], step: int) -> None:
    """columns[n, f, q, k] = x[n, f, step q + offsets[k]], zero outside of x.

    x (N, F, T, C); columns (N, F, Q, K, C), any strides over F.
    """
    t, q = x.shape[2], columns.shape[2]
    for k, offset in enumerate(offsets):
        first = min(q, max(0, -(offset // step)))  # the first q with step q + offset >= 0
        last = max(first, min(q, (t - 1 - offset) // step + 1))
        start = step * first + offset
        columns[:, :, :first, k] = 0
        columns[:, :, last:, k] = 0
        columns[:, :, first:last, k] = x[:, :, start : start + step * (last - first) : step]


def _multiply(rows: Tensor, matrix: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    """out = rows @ matrix + bias. rows (N, R, K), matrix (K, C'), bias (C',), out (N, R, C')."""
    if len(out) == 1 and bias is None:
        torch.mm(rows[0], matrix, out=out[0])
    elif len(out) == 1:
        torch.addmm(bias, rows[0], matrix, out=out[0])
    elif bias is None:
        torch.bmm(rows, matrix.expand(len(out), -1, -1), out=out)
    else:
        torch.baddbmm(bias, rows, matrix.expand(len(out), -1, -1), out=out)


def _add_product(rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    """out += rows @ matrix, shapes as in `_multiply`."""
    if len(out) == 1:
        out[0].addmm_(rows[0], matrix)
    else:
        out.baddbmm_(rows, matrix.expand(len(out), -1, -1))


class _Lowered:
    """Samples of x lowered for a forward convolution, ready to be sliced by kernel row.

    Padded rows are dealt to `S_f` phases (row = S_f q + phase), so that the rows that kernel row i
    meets, i, i + S_f, i + 2 S_f, ..., are one contiguous slice of phase i mod S_f.
    """

    def __init__(self, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> None:
        """x (n, F, T, C), channels last."""
        n, f, t, c = x.shape
        kt, (sf, st), (pf, pt) = kernel[1], stride, padding
        self.stride = sf
        self.fo, self.to = output_size((f, t), kernel, stride, padding)
        self.width = kt * c
        if kernel == (1, 1) and stride == (1, 1) and padding == (0, 0):
            self.rows = x[:, None]
            return
        per_phase = -(-(f + 2 * pf) // sf)
        self.rows = scratch((n, sf, per_phase, self.to, self.width), x)
        for phase in range(sf):
            rows = self.rows[:, phase]
            first = -(-(pf - phase) // sf) if phase < pf else 0  # q of the first real row
            start = sf * first + phase - pf
            count = len(range(start, f, sf))
            rows[:, :first] = 0
            rows[:, first + count :] = 0
            lowered = rows[:, first : first + count].unflatten(3, (kt, c))
            _lower(x[:, start::sf], lowered, [j - pt for j in range(kt)], st)

    def slice(self, i: int) -> Tensor:
        """(n, F' T', K_t C): what kernel row i is multiplied with."""
        q = i // self.stride
        return self.rows[:, i % self.stride, q : q + self.fo].reshape(
            len(self.rows), self.fo * self.to, self.width
        )


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, K_f, K_t), bias (C',) -> (N, C', F', T')."""
    co, ci, kf, kt = weight.shape
    fo, to = output_size((x.shape[2], x.shape[3]), (kf, kt), stride, padding)
    x = _channels_last(x)
    y = empty((len(x), fo * to, co), x)
    few = ci < FEW_CHANNELS and kf * kt > 1
    matrices = weight.permute(2, 3, 1, 0).reshape(kf, kt * ci, co)
    at_once = _samples_at_once(x)
    for n in range(0, len(x), at_once):
        samples = slice(n, n + at_once)
        if few:
            rows = _stacked(x[samples], (kf, kt), stride, padding)
            _multiply(rows.transpose(1, 2), matrices.flatten(0, 1), y[samples], bias)
            continue
        lowered = _Lowered(x[samples], (kf, kt), stride, padding)
        _multiply(lowered.slice(0), matrices[0], y[samples], bias)
        for i in range(1, kf):
            _add_product(lowered.slice(i), matrices[i], y[samples])
    return y.view(len(x), fo, to, co).permute(0, 3, 1, 2)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW[i] = sum over n of lowered(x)[i]^T . dL/dy, shape (C', C, K_f, K_t)."""
    (kf, kt), ci, co = kernel, x.shape[1], grad_output.shape[1]
    x, g = _channels_last(x), _channels_last(grad_output).flatten(1, 2)
    few = ci < FEW_CHANNELS and kf * kt > 1
    grad = x.new_zeros(kf, kt * ci, co)
    at_once = _samples_at_once(x)
    for n in range(0, len(x), at_once):
        samples = slice(n, n + at_once)
        if few:
            rows = _stacked(x[samples], kernel, stride, padding)
            _add_over_samples(grad.flatten(0, 1), rows, g[samples])
            continue
        lowered = _Lowered(x[samples], kernel, stride, padding)
        for i in range(kf):
            _add_over_samples(grad[i], lowered.slice(i).transpose(1, 2), g[samples])
    return grad.view(kf, kt, ci, co).permute(3, 2, 0, 1)


def _add_over_samples(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += sum over n of left[n] @ right[n]."""
    if len(left) == 1:
        total.addmm_(left[0], right[0])
    else:
        total.add_(torch.bmm(left, right).sum(0))


def _stacked(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """(n, F, T, C) -> (n, K_f K_t C, F' T'): whole shifted planes, for images of few channels.

    With one channel a lowered row would be K_t values long. A stack of shifted planes is copied in
    long runs instead, and its transpose is the left factor of the product.
    """
    n, f, t, c = x.shape
    (kf, kt), (sf, st), (pf, pt) = kernel, stride, padding
    fo, to = output_size((f, t), kernel, stride, padding)
    planes = scratch((n, kf, kt, c, fo, to), x)
    for i in range(kf):
        first = min(fo, max(0, -((i - pf) // sf)))
        last = max(first, min(fo, (f - 1 - i + pf) // sf + 1))
        start = sf * first + i - pf
        rows = x[:, start : start + sf * (last - first) : sf]
        planes[:, i, :, :, :first] = 0
        planes[:, i, :, :, last:] = 0
        inside = planes[:, i, :, :, first:last].permute(0, 3, 4, 1, 2)
        _lower(rows, inside, [j - pt for j in range(kt)], st)
    return planes.view(n, kf * kt * c, fo * to)


def input_gradient(
    grad_output: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dx, shape (N, C, F, T) with (F, T) = `size`, as S_f stride-1 convolutions of dL/dy.

    With f + P = S q + a:  dL/dx[f] = sum over m of dL/dy[q - m] W[a + S m], on both axes.
    """
    (f, t), (sf, st), (pf, pt) = size, stride, padding
    co, ci, kf, kt = weight.shape
    g = _channels_last(grad_output)
    taps_f, taps_t = -(-kf // sf), -(-kt // st)
    # Taps that do not exist get zero weights: (taps_f, S_f, taps_t C', S_t C).
    full = weight.new_zeros(co, ci, taps_f * sf, taps_t * st)
    full[:, :, :kf, :kt] = weight
    matrices = full.view(co, ci, taps_f, sf, taps_t, st).permute(2, 3, 4, 0, 5, 1)
    matrices = matrices.reshape(taps_f, sf, taps_t * co, st * ci)

    first_q, last_q = pt // st, (pt + t - 1) // st  # along time
    frames = last_q - first_q + 1
    top = taps_f - 1  # rows of zeros above the first row of g
    below = max(0, (pf + f - 1) // sf + 1 - g.shape[1])
    dx = empty((len(g), f, t, ci), g)
    whole = stride == (1, 1)
    plain = taps_f == taps_t == 1 and first_q == 0 and below == 0 and frames == g.shape[2]
    at_once = _samples_at_once(g)
    for n in range(0, len(g), at_once):
        x, samples = dx[n : n + at_once], g[n : n + at_once]
        if plain:
            rows = samples
        else:
            rows = scratch((len(x), top + g.shape[1] + below, frames, taps_t * co), g)
            rows[:, :top] = 0
            rows[:, top + g.shape[1] :] = 0
            lowered = rows[:, top : top + g.shape[1]].unflatten(3, (taps_t, co))
            _lower(samples, lowered, [first_q - m for m in range(taps_t)], 1)
        for phase in range(sf):
            q = -(-(pf - phase) // sf) if phase < pf else 0  # the first q of this phase inside dx
            row = sf * q + phase - pf
            count = len(range(row, f, sf))
            shape = (len(x), count * frames, st * ci)
            out = x.view(shape) if whole else empty(shape, g)
            for m in range(taps_f):
                part = rows[:, top + q - m : top + q - m + count]
                part = part.reshape(len(x), count * frames, taps_t * co)
                if m == 0:
                    _multiply(part, matrices[m, phase], out)
                elif phase + sf * m < kf:
                    _add_product(part, matrices[m, phase], out)
            if not whole:
                offset = pt - st * first_q
                phases = out.view(len(x), count, frames * st, ci)
                x[:, row::sf] = phases[:, :, offset : offset + t]
    return dx.permute(0, 3, 1, 2)
