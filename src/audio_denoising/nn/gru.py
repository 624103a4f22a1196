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

import torch
from torch import Tensor

from audio_denoising.nn.linear import uniform
from audio_denoising.nn.memory import empty
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
        h = states[0]
        for t in range(count):
            place = t if self.training else 0
            product = torch.addmm(bias, h, across, out=from_state[place])
            rz = torch.add(
                from_input[t, :, : 2 * hidden], product[:, : 2 * hidden], out=gates[place]
            )
            r, z = rz.sigmoid_().chunk(2, 1)
            n = torch.addcmul(
                from_input[t, :, 2 * hidden :], r, product[:, 2 * hidden :], out=candidates[place]
            )
            h = torch.lerp(n.tanh_(), h, z, out=states[t + 1])
        self.last_state = states[count].clone()
        self.keep(frames, states, from_state, gates, candidates)
        return states[1:].view(*x.shape[:-1], hidden)

    # Backwards in time, dh the gradient at h', a_n, a_r, a_z the arguments of tanh and sigmoid:
    #   da_n = dh (1 - z) (1 - n^2),   da_z = dh (h - n) z (1 - z),
    #   da_r = da_n (W_hn h + b_hn) r (1 - r),
    #   dh <- dh z + W_h^T (da_r, da_z, da_n r): what the state before gets too.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x. The state before the first frame is a constant."""
        frames, states, from_state, gates, candidates = self.take()
        count, rows, hidden = states[1:].shape
        grad = grad_output.reshape(count, rows, hidden)
        at_input, at_state = self._backward(grad, states, from_state, gates, candidates)
        d_input, d_state = at_input.view(-1, 3 * hidden), at_state.view(-1, 3 * hidden)
        self.weight_ih_l0.add_gradient(d_input.t() @ frames.view(-1, frames.shape[-1]))
        self.weight_hh_l0.add_gradient(d_state.t() @ states[:-1].view(-1, hidden))
        self.bias_ih_l0.add_gradient(d_input.sum(0))
        self.bias_hh_l0.add_gradient(d_state.sum(0))
        return (d_input @ self.weight_ih_l0.data).view(*grad_output.shape[:-1], -1)

    def _backward(
        self, grad: Tensor, states: Tensor, from_state: Tensor, gates: Tensor, candidates: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients at what the input and the state give to the gates, (T, rows, 3 H) each."""
        count, rows, hidden = candidates.shape
        at_input = empty(tuple(from_state.shape), from_state)  # da_r, da_z, da_n
        at_state = empty(tuple(from_state.shape), from_state)  # da_r, da_z, da_n r
        slopes = gates * (1 - gates)  # of both sigmoids, all frames
        bends = 1 - candidates * candidates  # of tanh
        across = self.weight_hh_l0.data
        later = grad.new_zeros(rows, hidden)
        for t in range(count - 1, -1, -1):
            dh = later + grad[t]
            reset, update = gates[t, :, :hidden], gates[t, :, hidden:]
            kept = dh * update
            d_candidate = torch.mul(dh - kept, bends[t], out=at_input[t, :, 2 * hidden :])
            torch.mul(d_candidate, reset, out=at_state[t, :, 2 * hidden :])
            d_gates = at_input[t, :, : 2 * hidden]
            torch.mul(d_candidate, from_state[t, :, 2 * hidden :], out=d_gates[:, :hidden])
            torch.mul(dh, states[t] - candidates[t], out=d_gates[:, hidden:])
            d_gates *= slopes[t]
            at_state[t, :, : 2 * hidden] = d_gates
            later = torch.addmm(kept, at_state[t], across)
        return at_input, at_state
