"""The readable convolution: im2col, one matrix product, and col2im for the way back.

im2col copies every K x K patch of the padded image into a column of a matrix. A convolution is
then a product of that matrix with the kernels written as rows, and its two derivatives are two
more products. The patches are a strided *view* of the image, so no loop runs over positions. This
is the reference that `row_lowering.py` is tested and timed against.

Chellapilla, Puri and Simard, "High performance convolutional neural networks for document
processing", 2006. Derivation of the two backward passes: docs/backprop.md.
"""

from __future__ import annotations

from torch import Tensor

from audio_denoising.nn.geometry import Pair, output_size


def pad(x: Tensor, padding: Pair) -> Tensor:
    """(N, C, F, T) -> (N, C, F + 2 P_f, T + 2 P_t), zeros around."""
    if padding == (0, 0):
        return x.contiguous()
    n, c, f, t = x.shape
    padded = x.new_zeros(n, c, f + 2 * padding[0], t + 2 * padding[1])
    padded[:, :, padding[0] : padding[0] + f, padding[1] : padding[1] + t] = x
    return padded


def im2col(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """(N, C, F, T) -> (N, C K_f K_t, F' T'): every patch as a column."""
    (kf, kt), (sf, st) = kernel, stride
    fo, to = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    x = pad(x, padding)
    n, c = x.shape[:2]
    by_n, by_c, by_f, by_t = x.stride()
    patches = x.as_strided(
        (n, c, kf, kt, fo, to), (by_n, by_c, by_f, by_t, sf * by_f, st * by_t), x.storage_offset()
    )
    return patches.reshape(n, c * kf * kt, fo * to)


def col2im(columns: Tensor, size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """(N, C K_f K_t, F' T') -> (N, C, F, T): adds every column back to the patch it came from.

    The adjoint of `im2col`: K_f K_t additions of whole shifted images.
    """
    (kf, kt), (sf, st), (pf, pt) = kernel, stride, padding
    fo, to = output_size(size, kernel, stride, padding)
    n, c = columns.shape[0], columns.shape[1] // (kf * kt)
    columns = columns.reshape(n, c, kf, kt, fo, to)
    x = columns.new_zeros(n, c, size[0] + 2 * pf, size[1] + 2 * pt)
    for i in range(kf):
        for j in range(kt):
            x[:, :, i : i + sf * fo : sf, j : j + st * to : st] += columns[:, :, i, j]
    return x[:, :, pf : pf + size[0], pt : pt + size[1]]


def correlate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
) -> Tensor:
    """Convolution as the field calls it: y = W . im2col(x) + b.

    x (N, C, F, T), weight (C', C, K_f, K_t), bias (C',) -> (N, C', F', T').
    """
    kernel = (weight.shape[2], weight.shape[3])
    fo, to = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    y = weight.flatten(1) @ im2col(x, kernel, stride, padding)
    if bias is not None:
        y += bias[:, None]
    return y.view(x.shape[0], weight.shape[0], fo, to)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW = sum over n of dL/dy . im2col(x)^T, shape (C', C, K_f, K_t)."""
    columns = im2col(x, kernel, stride, padding)
    grad = (grad_output.flatten(2) @ columns.transpose(1, 2)).sum(0)
    return grad.view(grad_output.shape[1], x.shape[1], *kernel)


def input_gradient(
    grad_output: Tensor,
    weight: Tensor,
    size: Pair,
    stride: Pair,
    padding: Pair,
    bias: Tensor | None = None,
) -> Tensor:
    """dL/dx = col2im(W^T . dL/dy), shape (N, C, F, T) with (F, T) = `size`.

    A bias (C,) is added when this serves as the forward pass of a transposed convolution.
    """
    columns = weight.flatten(1).T @ grad_output.flatten(2)
    x = col2im(columns, size, (weight.shape[2], weight.shape[3]), stride, padding)
    if bias is not None:
        x = x + bias[:, None, None]
    return x


def gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dW of a convolution."""
    kernel, size = (weight.shape[2], weight.shape[3]), (x.shape[2], x.shape[3])
    return (
        input_gradient(grad_output, weight, size, stride, padding),
        weight_gradient(x, grad_output, kernel, stride, padding),
    )


def transposed_gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dW of a transposed convolution, the adjoint of `correlate`.

    So dL/dx is `correlate` itself, and the weight meets the same pairs of values as in
    `weight_gradient`, with the roles of image and gradient exchanged.
    """
    kernel = (weight.shape[2], weight.shape[3])
    return (
        correlate(grad_output, weight, None, stride, padding),
        weight_gradient(grad_output, x, kernel, stride, padding),
    )
