"""Layers of `nn` in ONNX: each one written as the few standard operators that compute it.

An ONNX graph is a list of nodes. A node has an operator, the names of the tensors that it reads and
the names of those that it makes, each once. A layer is told the name of its input, adds its nodes,
and answers with the name of its output; the shapes are those of `nn`, without the backward pass.
https://onnx.ai/onnx/operators is what the operators mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor

from audio_denoising import nn
from audio_denoising.nn.activations import SMALLEST

OPSET = 17  # of 2022: what reads ONNX today reads that

Input = str | Tensor | float | Sequence[int]
"""The name of a tensor, or numbers that become part of the graph: float32, or whole ones for
shapes and places."""

Shape = Sequence[int | str]
"""Sizes of the axes; a text names one that is known only when the graph runs."""


class Graph:
    """A graph that grows node by node.

    Attributes:
        first_states: names of the states (1, rows, H) that the GRUs start from, in their order.
        last_states: names of those that they end with, as far as they have been added.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.first_states: list[str] = []
        self.last_states: list[str] = []
        self._count = 0

    def add(self, operator: str, *inputs: Input, name: str = "", **attributes: Any) -> str:
        """Adds a node with one output, and returns the name of that: `name`, or one of its own."""
        return self.add_many(1, operator, *inputs, name=name, **attributes)[0]

    def add_many(
        self, count: int, operator: str, *inputs: Input, name: str = "", **attributes: Any
    ) -> list[str]:
        """The same with several outputs, or one."""
        made = [name] if name else [self._name(operator) for _ in range(count)]
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        self.nodes.append(helper.make_node(operator, names, made, made[0], **attributes))
        return made

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{what}_{self._count}"

    def _constant(self, values: Tensor | float | Sequence[int]) -> str:
        tensor = torch.as_tensor(values)
        array = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
        name = self._name("constant")
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def finish(self, name: str, inputs: dict[str, Shape], outputs: dict[str, Shape]) -> GraphProto:
        """The whole graph, in float32 from its inputs to its outputs."""

        def described(shapes: dict[str, Shape]) -> list[ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
                for name, shape in shapes.items()
            ]

        return helper.make_graph(
            self.nodes, name, described(inputs), described(outputs), self.weights
        )


def express(graph: Graph, layer: Any, x: str) -> str:
    """Adds a layer in evaluation mode, with all that is in it, and returns the name of its output.

    Raises:
        TypeError: a layer that this file does not know. Normalisations are to be folded first.
    """
    match layer:
        case nn.Sequential():
            for each in layer.layers:
                x = express(graph, each, x)
            return x
        case nn.UNetLevel():
            skip = express(graph, layer.encode, x)
            up = express(graph, layer.inner, skip)
            return express(graph, layer.decode, graph.add("Concat", skip, up, axis=layer.axis))
        case nn.Residual():
            return graph.add("Add", x, express(graph, layer.inner, x))
        case nn.Mask():
            return graph.add("Mul", x, express(graph, layer.inner, x))
        case nn.ReLU():
            return graph.add("Relu", x)
        case nn.LeakyReLU():
            return graph.add("LeakyRelu", x, alpha=layer.slope)
        case nn.Sigmoid():
            return graph.add("Sigmoid", x)
        case nn.SiLU():
            return graph.add("Mul", x, graph.add("Sigmoid", x))
        case nn.RadialTanh():
            return _radial_tanh(graph, x)
        case nn.MaxPool2d():
            return graph.add("MaxPool", x, kernel_shape=layer.kernel, strides=layer.stride)
        case nn.Conv2d():
            strides, pads = layer.stride, layer.padding * 2
            return graph.add("Conv", x, *_weight_and_bias(layer), strides=strides, pads=pads)
        case nn.ConvTranspose2d():
            return graph.add(
                "ConvTranspose",
                x,
                *_weight_and_bias(layer),
                strides=layer.stride,
                pads=layer.padding * 2,
                output_padding=layer.output_padding,
            )
        case nn.Linear():
            weight, *bias = _weight_and_bias(layer)
            y = graph.add("MatMul", x, weight.t())
            return graph.add("Add", y, *bias) if bias else y
        case nn.FrequencyConv():
            return _frequency_conv(graph, layer, x)
        case nn.BandMatrix():
            return graph.add("MatMul", layer.weight.data, x)
        case nn.ChannelBandMatrix():
            return _channel_band_matrix(graph, layer, x)
        case nn.GRU():
            return _gru(graph, layer, x)
    raise TypeError(f"no ONNX operators are known for {type(layer).__name__}")


def _weight_and_bias(layer: Any) -> list[Tensor]:
    return [layer.weight.data] if layer.bias is None else [layer.weight.data, layer.bias.data]


def _frequency_conv(graph: Graph, layer: nn.FrequencyConv, x: str) -> str:
    """(T, N, F, C): T images of C channels and N x F pixels, whose kernel is one pixel high."""
    weight, *bias = _weight_and_bias(layer)
    edge = weight.shape[2] // 2
    images = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    y = graph.add("Conv", images, weight.unsqueeze(2), *bias, pads=[0, edge, 0, edge])
    return graph.add("Transpose", y, perm=[0, 2, 3, 1])


def _channel_band_matrix(graph: Graph, layer: nn.ChannelBandMatrix, x: str) -> str:
    """With the channels in front, a batch of matrix products: (C, T, N, F) times (C, 1, F, F')."""
    rows = graph.add("Transpose", x, perm=[3, 0, 1, 2])
    y = graph.add("MatMul", rows, layer.weight.data.transpose(1, 2).unsqueeze(1))
    return graph.add("Transpose", y, perm=[1, 2, 3, 0])


def _gru(graph: Graph, layer: nn.GRU, x: str) -> str:
    """(T, N, F, C) -> (T, N, F, H): ONNX has the layer, with its gates in the order z, r, n.

    It counts directions, of which there is one here: weights (1, 3 H, C), output (T, 1, rows, H).
    """

    def reordered(rows: Tensor) -> Tensor:
        reset, update, candidate = rows.chunk(3)
        return torch.cat((update, reset, candidate)).unsqueeze(0)

    hidden, first = layer.hidden, graph.first_states[len(graph.last_states)]
    rows = graph.add("Reshape", x, [0, -1, layer.weight_ih_l0.data.shape[1]])
    y, last = graph.add_many(
        2,
        "GRU",
        rows,
        reordered(layer.weight_ih_l0.data),
        reordered(layer.weight_hh_l0.data),
        torch.cat((reordered(layer.bias_ih_l0.data), reordered(layer.bias_hh_l0.data)), 1),
        "",  # the lengths of sequences: all are as long as the input
        first,
        hidden_size=hidden,
        linear_before_reset=1,  # r (W h + b), not W (r h) + b
    )
    graph.last_states.append(last)
    shape = graph.add("Concat", graph.add("Shape", x, end=3), [hidden], axis=0)
    return graph.add("Reshape", y, shape)


def _radial_tanh(graph: Graph, x: str) -> str:
    """m tanh(r) / r with r = |m|, for complex numbers m in pairs along the last axis."""
    pairs = graph.add("Reshape", x, [0, 0, -1, 2])
    r = graph.add("Clip", graph.add("ReduceL2", pairs, axes=[3]), SMALLEST)
    share = graph.add("Div", graph.add("Tanh", r), r)
    return graph.add("Reshape", graph.add("Mul", pairs, share), graph.add("Shape", x))
