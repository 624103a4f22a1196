"""A gated recurrent unit over time, with backpropagation through time.

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        the reset gate
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)        the update gate
    n = tanh(W_in x + b_in + r (W_hn h + b_hn))       the candidate
    h' = (1 - z) n + z h

Cho et al., EMNLP 2014 (arXiv:1406.1078), in the form that torch.nn.GRU has. What does not depend
on h is one product for all frames before the loop; in the loop the three gates are one product per
frame; after the loop of the backward pass the weights' gradients are one product again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from audio_denoising.nn.linear import uniform
from audio_denoising.nn.memory import empty, empty_like
from audio_denoising.nn.module import Module, Parameter, require


class GRU(Module):
    """(T, ..., C) -> (T, ..., H): the same weights for every row of the axes in the middle.

    `weight_ih` (3 H, C), `weight_hh` (3 H, H) and their biases (3 H) hold the gates in the order
    r, z, n; the names end in `_l0` as in torch.nn.GRU.

    Attributes:
        first_state: h before the first frame, (rows, H); None for zeros.
        last_state: h after the last frame of the last forward pass.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        self.weight_ih_l0 = Parameter(uniform((3 * hidden, inputs), hidden))
        self.weight_hh_l0 = Parameter(uniform((3 * hidden, hidden), hidden))
        self.bias_ih_l0 = Parameter(uniform((3 * hidden,), hidden))
        self.bias_hh_l0 = Parameter(uniform((3 * hidden,), hidden))
        self.hidden = hidden
        self.first_state: Tensor | None = None
        self.last_state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(T, ..., C) -> (T, ..., H); ValueError for other channels, or another first state."""
        hidden = self.hidden
        inputs = self.weight_ih_l0.data.shape[1]
        require(x.dim() > 1 and x.shape[-1] == inputs, f"GRU takes (T, ..., {inputs})", x)
        count, rows = x.shape[0], math.prod(x.shape[1:-1])
        frames = x.reshape(count, rows, inputs).contiguous()
        states = empty((count + 1, rows, hidden), frames)
        if self.first_state is None:
            states[0] = 0
        elif self.first_state.shape == states[0].shape:
            states[0] = self.first_state
        else:
            raise ValueError(
                f"GRU needs a first state {tuple(states[0].shape)}, "
                f"got {tuple(self.first_state.shape)}"
            )
        from_input = empty((count, rows, 3 * hidden), frames)
        inward, out = self.weight_ih_l0.data.t(), from_input.view(-1, 3 * hidden)
        torch.addmm(self.bias_ih_l0.data, frames.view(-1, inputs), inward, out=out)
        across, bias = self.weight_hh_l0.data.t().contiguous(), self.bias_hh_l0.data
        # Training keeps what every frame computed; otherwise one frame's room serves all.
        kept = count if self.training else 1
        from_state = empty((kept, rows, 3 * hidden), frames)
        gates = empty((kept, rows, 2 * hidden), frames)
        candidates = empty((kept, rows, hidden), frames)
        product, rz, n = (room.expand(count, -1, -1) for room in (from_state, gates, candidates))
        parts = 2 * hidden, hidden  # both gates, and the candidate
        h = states[0]
        for given_rz, given_n, whole, whole_rz, whole_n, both, r, z, new, following in _by_frame(
            *from_input.split(parts, 2), product, *product.split(parts, 2),
            rz, *rz.chunk(2, 2), n, states[1:],
        ):  # fmt: skip
            torch.addmm(bias, h, across, out=whole)
            torch.add(given_rz, whole_rz, out=both).sigmoid_()
            torch.addcmul(given_n, r, whole_n, out=new).tanh_()
            h = torch.lerp(new, h, z, out=following)
        self.last_state = states[count].clone()
        self.keep(frames, states, from_state, gates, candidates)
        return states[1:].view(*x.shape[:-1], hidden)

    # Backwards in time, dh the gradient at h', a_n, a_r, a_z the arguments of tanh and sigmoid:
    #   da_n = dh (1 - z) (1 - n^2),   da_z = dh (h - n) z (1 - z),
    #   da_r = da_n (W_hn h + b_hn) r (1 - r),
    #   dh <- dh z + W_h^T (da_r, da_z, da_n r): what the state before gets too.
    # All are dh times factors that the forward pass knows, which leaves the loop little to do.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x. The state before the first frame is a constant."""
        frames, states, at_state, gates, n = self.take()
        _, rows, hidden = n.shape
        h, (r, z), across = states[:-1], gates.chunk(2, 2), self.weight_hh_l0.data
        # Where what the state gave to the gates was, the factors take its place, and then da.
        at_r, at_z, at_n = at_state.split(hidden, 2)
        bend = torch.mul(n, n, out=empty_like(n)).neg_().add_(1)
        bend.addcmul_(bend, z, value=-1)  # (1 - z) (1 - n^2)
        torch.mul(at_n, bend, out=at_r).mul_(r).addcmul_(at_r, r, value=-1)
        torch.sub(h, n, out=at_z).mul_(z).addcmul_(at_z, z, value=-1)
        torch.mul(bend, r, out=at_n)
        slopes = empty_like(n)  # dh of every frame
        later = slopes.new_zeros(rows, hidden)
        frames_back = _by_frame(
            grad_output.reshape(n.shape), slopes, slopes.unsqueeze(2),
            at_state, at_state.unflatten(2, (3, hidden)), z,
        )  # fmt: skip
        for given, dh, for_each, whole, three, update in reversed(list(frames_back)):
            torch.add(later, given, out=dh)
            three.mul_(for_each)
            later = torch.addmm(dh * update, whole, across)
        grad, inputs = at_state.view(-1, 3 * hidden), frames.view(-1, frames.shape[-1])
        self.weight_hh_l0.add_gradient(grad.t() @ h.reshape(-1, hidden))
        self.bias_hh_l0.add_gradient(grad.sum(0))
        torch.mul(slopes, bend, out=at_n)  # da_n, in place of da_n r
        self.weight_ih_l0.add_gradient(grad.t() @ inputs)
        self.bias_ih_l0.add_gradient(grad.sum(0))
        grad_input = torch.mm(grad, self.weight_ih_l0.data, out=empty_like(inputs))
        return grad_input.view(*grad_output.shape[:-1], -1)


def _by_frame(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Frame by frame of tensors (T, ...): all views at once, which is much less work than each."""
    return zip(*(tensor.unbind(0) for tensor in tensors), strict=True)
