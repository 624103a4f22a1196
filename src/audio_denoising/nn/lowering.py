"""Images lowered along time, tile by tile: the rows that the matrix products of
`row_lowering.py` read, and the slices of them that each product wants.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from audio_denoising.nn.geometry import Pair, output_size
from audio_denoising.nn.memory import scratch
from audio_denoising.nn.tiles import Tile, add_product, multiply, parts, tiles


class Rows:
    """A work area (n, R, Q, K C) for lowered rows, and how it is filled.

    Inside the image the K neighbours of a frame lie side by side already: they are one overlapping
    view, gathered by a single copy. Only the first and last windows reach beyond the image. What
    they hold there is never written: it stays zero if it is zero at the start.
    """

    def __init__(self, area: Tensor, k: int, frame: int, step: int) -> None:
        """Window q of `k` frames will start at `frame + step q`."""
        self.area, self.k, self.frame, self.step = area, k, frame, step
        self.views: dict[Pair, list[tuple[Tensor, int]]] = {}

    def fill(self, x: Tensor, row: int, step: int) -> None:
        """area[n, r, q, k] = x[n, row + step r, frame + step_t q + k], zero outside of x.

        x (n, F, T, C), any strides over n and F.
        """
        count, (_, f, t, c) = self.area.shape[1], x.shape
        low = min(count, max(0, -(row // step)))  # the first r whose row is inside x
        high = max(low, min(count, (f - 1 - row) // step + 1))  # behind the last that is
        if low:
            self.area[:, :low] = 0
        if high < count:
            self.area[:, high:] = 0
        if high == low:
            return
        if (low, high) not in self.views:
            self.views[low, high] = self._views(self.area[:, low:high], t, c)
        by_n, by_f, by_t, _ = x.stride()
        start = x.storage_offset() + (row + step * low) * by_f
        for out, frame in self.views[low, high]:
            strides = (by_n, step * by_f, self.step * by_t, 1)
            out.copy_(x.as_strided(out.shape, strides, start + frame * by_t))

    def _views(self, area: Tensor, t: int, c: int) -> list[tuple[Tensor, int]]:
        """Parts of the area that are one copy each, and the frame that each copy starts from."""
        q, k = area.shape[2], self.k
        first = min(q, max(0, -(self.frame // self.step)))  # the first window inside x
        last = max(first, min(q, (t - k - self.frame) // self.step + 1))  # behind the last one
        views = [(area[:, :, first:last], self.frame + self.step * first)] if last > first else []
        for edge in (*range(first), *range(last, q)):
            at = self.frame + self.step * edge
            start, stop = min(k, max(0, -at)), max(0, min(k, t - at))
            if stop > start:
                views.append((area[:, :, edge : edge + 1, start * c : stop * c], at + start))
        return views


class Lowered:
    """Tiles of x lowered for a forward convolution, sliced by kernel row.

    Padded rows are dealt to `S_f` phases (row = S_f q + phase), so that the rows that kernel row i
    meets, i, i + S_f, i + 2 S_f, ..., are one contiguous slice of phase i mod S_f.
    """

    def __init__(self, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> None:
        """x (N, F, T, C), channels last."""
        self.x = x
        (self.kf, self.kt), self.stride, self.padding = kernel, stride, padding
        self.fo, self.to = output_size((x.shape[1], x.shape[2]), kernel, stride, padding)
        self.as_it_lies = kernel == stride == (1, 1) and padding == (0, 0)
        self.area: Tensor | None = None
        self.areas: dict[Pair, tuple[list[Rows], list[Tensor]]] = {}

    def tiles(self, channels_out: int) -> Iterator[Tile]:
        """Tiles of the output."""
        values = min(self.kf, self.stride[0]) * self.kt * self.x.shape[3] + channels_out
        return tiles(len(self.x), self.fo, self.to * values, self.x.device)

    def lower(self, tile: Tile) -> list[Tensor]:
        """The parts (see `tiles.parts`) that each kernel row is multiplied with."""
        samples, rows = tile
        if self.as_it_lies:
            return [parts(self.x[tile])]
        x = self.x[samples]
        shape = (len(x), rows.stop - rows.start)
        if shape not in self.areas:
            self.areas[shape] = self._area(*shape)
        phases, slices = self.areas[shape]
        for phase, area in enumerate(phases):
            area.fill(x, self.stride[0] * rows.start + phase - self.padding[0], self.stride[0])
        return slices

    def _area(self, n: int, count: int) -> tuple[list[Rows], list[Tensor]]:
        """The work area of a tile: its phases, and its slices for all kernel rows."""
        sf, width = self.stride[0], self.kt * self.x.shape[3]
        used = [count + (self.kf - 1 - phase) // sf for phase in range(min(self.kf, sf))]
        if self.area is None:  # the first tile is the largest
            self.area = scratch((n, len(used), used[0], self.to, width), self.x).zero_()
        phases = [self.area[:n, phase, :rows] for phase, rows in enumerate(used)]
        slices = [parts(phases[i % sf][:, i // sf : i // sf + count]) for i in range(self.kf)]
        rows = [Rows(phase, self.kt, -self.padding[1], self.stride[1]) for phase in phases]
        return rows, slices


class Phases:
    """dL/dy lowered for the gradient at the input, tile by tile, sliced by phase and tap.

    With f + P = S q + a:  dL/dx[f] = sum over m of dL/dy[q - m] W[a + S m], on both axes.
    """

    def __init__(self, g: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair) -> None:
        """g (N, F', T', C'), channels last; weight (C', C, K_f, K_t); size (F, T) of x."""
        co, ci, self.kf, kt = weight.shape
        (self.f, self.t), (self.sf, self.st), (self.pf, pt) = size, stride, padding
        self.g, self.co, self.ci = g, co, ci
        self.taps, self.taps_t = -(-self.kf // self.sf), -(-kt // self.st)
        # matrices[m, a] holds W[a + S m] with the phases along time side by side. Tap m looks m
        # frames back, and frames lie in ascending order. Taps that do not exist stay zero.
        matrices = weight.new_zeros(self.taps, self.sf, self.taps_t, co, self.st, ci)
        for i in range(self.kf):
            for j in range(kt):
                m, phase = divmod(j, self.st)
                place = matrices[i // self.sf, i % self.sf, self.taps_t - 1 - m]
                place[:, phase] = weight[:, :, i, j]
        self.matrices = matrices.view(self.taps, self.sf, self.taps_t * co, self.st * ci)
        self.q = range(self.pf // self.sf, (self.pf + self.f - 1) // self.sf + 1)
        self.q_t = range(pt // self.st, (pt + self.t - 1) // self.st + 1)
        self.cut = pt - self.st * self.q_t.start  # frames before t = 0
        self.first_frame = self.q_t.start - self.taps_t + 1
        self.area: Tensor | None = None
        self.areas: dict[Pair, Rows] = {}
        self.slices: dict[tuple[int, ...], Tensor] = {}

    def tiles(self) -> Iterator[Tile]:
        """Tiles of padded rows q; a tile holds rows S q - P, ..., of x."""
        values = len(self.q_t) * (self.taps_t * self.co + self.sf * self.st * self.ci)
        for samples, rows in tiles(len(self.g), len(self.q), values, self.g.device):
            yield samples, slice(self.q.start + rows.start, self.q.start + rows.stop)

    def rows_of_x(self, tile: Tile) -> Tile:
        """The same tile in x."""
        samples, q = tile
        low, high = self.sf * q.start - self.pf, self.sf * q.stop - self.pf
        return samples, slice(max(0, low), min(self.f, high))

    def lower(self, tile: Tile) -> None:
        """Makes everything that a tile depends on: rows q - m of g, for all taps m."""
        samples, q = tile
        g = self.g[samples]
        self.top = q.start - (self.taps - 1)
        shape = (len(g), q.stop - self.top)
        if shape not in self.areas:
            if self.area is None:  # the first tile is the largest
                width = self.taps_t * self.co
                self.area = scratch((*shape, len(self.q_t), width), self.matrices).zero_()
            area = self.area[: shape[0], : shape[1]]
            self.areas[shape] = Rows(area, self.taps_t, self.first_frame, 1)
        self.areas[shape].fill(g, self.top, 1)
        self.rows = self.areas[shape].area

    def slice(self, m: int, q: slice) -> Tensor:
        """The parts (see `tiles.parts`) that tap m is multiplied with for rows q."""
        key = (*self.rows.shape[:2], q.start - m - self.top, q.stop - m - self.top)
        if key not in self.slices:
            self.slices[key] = parts(self.rows[:, key[2] : key[3]])
        return self.slices[key]

    def spread(self, tile: Tile, x: Tensor, bias: Tensor | None = None) -> None:
        """Fills the tile of x (N, F, T, C) with the gradient, plus a bias (C,)."""
        samples, rows = tile
        for phase in range(self.sf):
            low = max(rows.start, -((phase - self.pf) // self.sf))
            high = min(rows.stop, (self.pf + self.f - 1 - phase) // self.sf + 1)
            if high <= low:
                continue
            q, first = slice(low, high), self.sf * low + phase - self.pf
            place = x[samples, first : first + self.sf * (high - low - 1) + 1 : self.sf]
            whole = self.sf == self.st == 1
            shape = (len(place), high - low, len(self.q_t), self.st * self.ci)
            out = place if whole else scratch(shape, self.matrices, "products")
            out_parts = parts(out)
            multiply(self.slice(0, q), self.matrices[0, phase], out_parts)
            for m in range(1, self.taps):
                if phase + self.sf * m < self.kf:
                    add_product(self.slice(m, q), self.matrices[m, phase], out_parts)
            if not whole:
                frames = out.view(*shape[:2], len(self.q_t) * self.st, self.ci)
                frames = frames[:, :, self.cut : self.cut + self.t]
                place.copy_(frames) if bias is None else torch.add(frames, bias, out=place)
            elif bias is not None:
                place += bias
