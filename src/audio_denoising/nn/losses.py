"""A loss measures how far a prediction is from its target, as one number to make smaller."""

from __future__ import annotations

from torch import Tensor


class Loss:
    """Of a prediction and a target, both of any one shape: the mean over all elements."""

    difference: Tensor | None = None  # prediction - target, of the last forward pass

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.forward(prediction, target)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar tensor; ValueError where the shapes differ."""
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ"
            )
        self.difference = prediction - target
        return self.of(self.difference)

    def backward(self) -> Tensor:
        """dL/dprediction after the last forward, in the prediction's shape."""
        assert self.difference is not None, "backward needs a forward pass"
        d, self.difference = self.difference, None
        return self.slope(d)

    def of(self, d: Tensor) -> Tensor:
        """The loss of d = prediction - target."""
        raise NotImplementedError

    def slope(self, d: Tensor) -> Tensor:
        """dL/dd; may overwrite d."""
        raise NotImplementedError


class MSELoss(Loss):
    """Mean squared error: L = 1/n sum d^2, so dL/dprediction = 2 d / n."""

    def of(self, d: Tensor) -> Tensor:
        return d.square().mean()

    def slope(self, d: Tensor) -> Tensor:
        return d.mul_(2 / d.numel())


class L1Loss(Loss):
    """Mean absolute error: L = 1/n sum |d|, so dL/dprediction = sign(d) / n (0 at the kink)."""

    def of(self, d: Tensor) -> Tensor:
        return d.abs().mean()

    def slope(self, d: Tensor) -> Tensor:
        return d.sign_().div_(d.numel())
