"""A loss measures how far a prediction is from its target, as one number to make smaller."""

from __future__ import annotations

from torch import Tensor


class Loss:
    """`forward(prediction, target)` returns the loss, `backward()` its gradient at the prediction.

    Both tensors have the same shape, any; the loss is the mean over all elements.
    """

    def __init__(self) -> None:
        self.difference: Tensor | None = None

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar tensor.

        Raises:
            ValueError: the shapes differ.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ"
            )
        self.difference = prediction - target
        return self.of(self.difference)

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.forward(prediction, target)

    def of(self, difference: Tensor) -> Tensor:
        """The loss of d = prediction - target."""
        raise NotImplementedError

    def slope(self, difference: Tensor) -> Tensor:
        """dL/dd; may overwrite d."""
        raise NotImplementedError

    def backward(self) -> Tensor:
        """dL/dprediction after the last forward, in the prediction's shape."""
        assert self.difference is not None, "backward needs a forward pass"
        d, self.difference = self.difference, None
        return self.slope(d)


class MSELoss(Loss):
    """Mean squared error: L = 1/n sum d^2, with d = prediction - target."""

    def of(self, difference: Tensor) -> Tensor:
        """1/n sum d^2."""
        return difference.square().mean()

    # dL/dprediction = 2 d / n.

    def slope(self, difference: Tensor) -> Tensor:
        """2 d / n."""
        return difference.mul_(2 / difference.numel())


class L1Loss(Loss):
    """Mean absolute error: L = 1/n sum |d|, with d = prediction - target."""

    def of(self, difference: Tensor) -> Tensor:
        """1/n sum |d|."""
        return difference.abs().mean()

    # dL/dprediction = sign(d) / n, taking 0 at the kink d = 0 (a subgradient).

    def slope(self, difference: Tensor) -> Tensor:
        """sign(d) / n."""
        return difference.sign_().div_(difference.numel())
