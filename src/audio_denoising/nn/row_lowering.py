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
from .memory import channels_last, empty, scratch, sum_type

SUM_BLOCK = 1024  # positions added up by one matrix-vector product


def _samples_at_once(x: Tensor) -> int:
    """A CPU works best on one sample that stays in its caches, a GPU on the whole batch."""
    return 1 if x.device.type == "cpu" else len(x)


def _lower(x: Tensor, columns: Tensor, offset: int, step: int) -> None:
    """columns[n, f, q, k] = x[n, f, step q + offset + k], zero outside of x.

    x (N, F, T, C), any strides over N and F; columns (N, F, Q, K, C). Inside the image the K
    neighbours of a frame lie side by side already: they are one overlapping view, copied at once.
    """
    (n, f, t, c), (q, k) = x.shape, columns.shape[2:4]
    first = min(q, max(0, -(offset // step)))  # the first q whose window starts inside x
    last = max(first, min(q, (t - k - offset) // step + 1))  # behind the last that ends inside
    if last > first:
        by_n, by_f, by_t, _ = x.stride()
        start = x.storage_offset() + (step * first + offset) * by_t
        windows = x.as_strided((n, f, last - first, k * c), (by_n, by_f, step * by_t, 1), start)
        columns[:, :, first:last].flatten(3).copy_(windows)
    for edge in (*range(first), *range(last, q)):
        at = step * edge + offset
        low, high = min(k, max(0, -at)), max(0, min(k, t - at))
        column = columns[:, :, edge]
        column[:, :, :low] = 0
        column[:, :, high:] = 0
        column[:, :, low:high] = x[:, :, at + low : at + high]


def _multiply(rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    """out = rows @ matrix. rows (N, R, K), matrix (K, C'), out (N, R, C')."""
    if len(out) == 1:
        torch.mm(rows[0], matrix, out=out[0])
    else:
        torch.bmm(rows, matrix.expand(len(out), -1, -1), out=out)


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
            _lower(x[:, start::sf], lowered, -pt, st)

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
    x = channels_last(x)
    y = empty((len(x), fo * to, co), x)
    matrices = weight.permute(2, 3, 1, 0).reshape(kf, kt * ci, co)
    at_once = _samples_at_once(x)
    for n in range(0, len(x), at_once):
        samples = slice(n, n + at_once)
        out = y[samples]
        out.copy_(bias) if bias is not None else out.zero_()
        lowered = _Lowered(x[samples], (kf, kt), stride, padding)
        for i in range(kf):
            _add_product(lowered.slice(i), matrices[i], out)
    return y.view(len(x), fo, to, co).permute(0, 3, 1, 2)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW[i] = sum over n of lowered(x)[i]^T . dL/dy, shape (C', C, K_f, K_t)."""
    (kf, kt), ci, co = kernel, x.shape[1], grad_output.shape[1]
    x, g = channels_last(x), channels_last(grad_output).flatten(1, 2)
    grad = x.new_zeros(kf, kt * ci, co, dtype=sum_type(x))
    at_once = _samples_at_once(x)
    for n in range(0, len(x), at_once):
        samples = slice(n, n + at_once)
        lowered = _Lowered(x[samples], kernel, stride, padding)
        for i in range(kf):
            add_over_samples(grad[i], lowered.slice(i).transpose(1, 2), g[samples])
    return grad.view(kf, kt, ci, co).permute(3, 2, 0, 1)


def add_over_samples(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += sum over n of left[n] @ right[n].

    A single channel makes it a matrix-vector product, which BLAS adds up term after term: over
    the 65 536 positions of an image float32 would lose a digit. Blocks of positions keep it.
    """
    if len(left) > 1:
        total.add_(torch.bmm(left, right).sum(0, dtype=total.dtype))
    elif min(left.shape[1], right.shape[2]) > 1:
        if total.dtype == left.dtype:
            total.addmm_(left[0], right[0])
        else:
            total += left[0] @ right[0]
    else:
        parts = zip(left[0].split(SUM_BLOCK, 1), right[0].split(SUM_BLOCK), strict=True)
        total.add_(torch.stack([a @ b for a, b in parts]).sum(0, dtype=total.dtype))


class _Phases:
    """dL/dy lowered for the gradient at the input, ready to be sliced by phase and tap.

    With f + P = S q + a:  dL/dx[f] = sum over m of dL/dy[q - m] W[a + S m], on both axes.
    """

    def __init__(self, g: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair) -> None:
        """g (N, F', T', C'), channels last; weight (C', C, K_f, K_t); size (F, T) of x."""
        co, ci, self.kf, kt = weight.shape
        (f, t), (self.sf, st), (self.pf, pt) = size, stride, padding
        self.size, self.ci, self.st = size, ci, st
        self.taps, self.taps_t = -(-self.kf // self.sf), -(-kt // st)
        self.width = self.taps_t * co
        # matrices[m, a] holds W[a + S m] with the phases along time side by side. Tap m looks m
        # frames back, and frames lie in ascending order. Taps that do not exist stay zero.
        matrices = weight.new_zeros(self.taps, self.sf, self.taps_t, co, st, ci)
        for i in range(self.kf):
            for j in range(kt):
                m, phase = divmod(j, st)
                place = matrices[i // self.sf, i % self.sf, self.taps_t - 1 - m]
                place[:, phase] = weight[:, :, i, j]
        self.matrices = matrices.view(self.taps, self.sf, self.width, st * ci)
        self.first_q = pt // st  # along time; the frames before t = 0 are cut off at the end
        self.frames = (pt + t - 1) // st - self.first_q + 1
        self.cut = pt - st * self.first_q
        self.top = self.taps - 1  # rows of zeros above the first row of g
        self.below = max(0, (self.pf + f - 1) // self.sf + 1 - g.shape[1])
        self.as_it_lies = (
            self.taps == self.taps_t == 1
            and self.first_q == self.below == 0
            and self.frames == g.shape[2]
        )

    def lower(self, g: Tensor) -> Tensor:
        """(n, F', T', C') -> lowered rows (n, rows, Q, K C')."""
        if self.as_it_lies:
            return g
        n, f, _, co = g.shape
        rows = scratch((n, self.top + f + self.below, self.frames, self.width), g)
        rows[:, : self.top] = 0
        rows[:, self.top + f :] = 0
        inside = rows[:, self.top : self.top + f].unflatten(3, (self.taps_t, co))
        _lower(g, inside, self.first_q - self.taps_t + 1, 1)
        return rows

    def slice(self, rows: Tensor, m: int, q: int, count: int) -> Tensor:
        """(n, count Q, K C'): what tap m of a phase that starts at q is multiplied with."""
        first = self.top + q - m
        return rows[:, first : first + count].reshape(len(rows), count * self.frames, self.width)

    def spread(self, rows: Tensor, x: Tensor, bias: Tensor | None = None) -> None:
        """Fills x (n, F, T, C) with the gradient, plus a bias (C,)."""
        f, t = self.size
        for phase in range(self.sf):
            q = -(-(self.pf - phase) // self.sf) if phase < self.pf else 0  # first q inside x
            row = self.sf * q + phase - self.pf
            count = len(range(row, f, self.sf))
            shape = (len(x), count * self.frames, self.st * self.ci)
            whole = self.sf == self.st == 1
            out = x.view(shape) if whole else empty(shape, x)
            _multiply(self.slice(rows, 0, q, count), self.matrices[0, phase], out)
            for m in range(1, self.taps):
                if phase + self.sf * m < self.kf:
                    _add_product(self.slice(rows, m, q, count), self.matrices[m, phase], out)
            phases = out.view(len(x), count, self.frames * self.st, self.ci)
            phases = phases[:, :, self.cut : self.cut + t]
            if bias is not None:
                torch.add(phases, bias, out=x[:, row :: self.sf])
            elif not whole:
                x[:, row :: self.sf] = phases


def input_gradient(
    grad_output: Tensor,
    weight: Tensor,
    size: Pair,
    stride: Pair,
    padding: Pair,
    bias: Tensor | None = None,
) -> Tensor:
    """dL/dx, shape (N, C, F, T) with (F, T) = `size`, as S_f stride-1 convolutions of dL/dy.

    A bias (C,) is added when this serves as the forward pass of a transposed convolution.
    """
    g = channels_last(grad_output)
    phases = _Phases(g, weight, size, stride, padding)
    dx = empty((len(g), *size, weight.shape[1]), g)
    at_once = _samples_at_once(g)
    for n in range(0, len(g), at_once):
        phases.spread(phases.lower(g[n : n + at_once]), dx[n : n + at_once], bias)
    return dx.permute(0, 3, 1, 2)


def gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dW of a convolution at once.

    With stride 1 the rows that were lowered for dL/dx serve dL/dW as well, since
    dL/dW[i, j] = sum over f, t of x[f, t] dL/dy[f + P - i, t + P - j].
    """
    kernel, size = (weight.shape[2], weight.shape[3]), (x.shape[2], x.shape[3])
    if stride != (1, 1):
        dx = input_gradient(grad_output, weight, size, stride, padding)
        return dx, weight_gradient(x, grad_output, kernel, stride, padding)
    (kf, kt), ci, co = kernel, weight.shape[1], weight.shape[0]
    x, g = channels_last(x), channels_last(grad_output)
    phases = _Phases(g, weight, size, stride, padding)
    dx = empty((len(g), *size, ci), g)
    dw = g.new_zeros(kf, ci, kt * co, dtype=sum_type(g))
    at_once = _samples_at_once(g)
    for n in range(0, len(g), at_once):
        samples = slice(n, n + at_once)
        rows = phases.lower(g[samples])
        phases.spread(rows, dx[samples])
        pixels = x[samples].flatten(1, 2).transpose(1, 2)
        for i in range(kf):
            add_over_samples(dw[i], pixels, phases.slice(rows, i, padding[0], size[0]))
    return dx.permute(0, 3, 1, 2), dw.view(kf, ci, kt, co).flip(2).permute(3, 1, 0, 2)


def transposed_gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dW of a transposed convolution, from one lowering of dL/dy.

    x (N, C, F, T), grad_output (N, C', F', T'), weight (C, C', K_f, K_t).
    """
    c, co, kf, kt = weight.shape
    g, x = channels_last(grad_output), channels_last(x)
    dx = empty(tuple(x.shape), g)
    dw = g.new_zeros(kf, kt * co, c, dtype=sum_type(g))
    matrices = weight.permute(2, 3, 1, 0).reshape(kf, kt * co, c)
    at_once = _samples_at_once(g)
    for n in range(0, len(g), at_once):
        samples = slice(n, n + at_once)
        lowered = _Lowered(g[samples], (kf, kt), stride, padding)
        pixels, out = x[samples].flatten(1, 2), dx[samples].flatten(1, 2)
        for i in range(kf):
            rows = lowered.slice(i)
            (_add_product if i else _multiply)(rows, matrices[i], out)
            add_over_samples(dw[i], rows.transpose(1, 2), pixels)
    return dx.permute(0, 3, 1, 2), dw.view(kf, kt, co, c).permute(3, 2, 0, 1)
