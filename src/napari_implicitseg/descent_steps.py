"""Steps of gradient descent: Adam, and how many threads they take.

Adam is torch's own fused step, without its class: that would import torch's
compiler, which takes a second.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.adam import adam

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

__all__ = ["Adam", "torch_threads"]

# Below this many numbers per step OpenMP threads cost more than they bring.
_SERIAL_SIZE = 4_000_000


@contextlib.contextmanager
def torch_threads(size: int) -> Iterator[None]:
    """Use one torch thread for steps over few numbers, and restore the count after."""
    before = torch.get_num_threads()
    if size < _SERIAL_SIZE and before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


class Adam:
    """Gradient steps by Adam (Kingma and Ba 2015).

    Parameters
    ----------
    groups : sequence of dict
        Parameters (`params`) and their peak rate (`lr`), as torch's optimisers take them.
    beta2 : float
        Share of the squares kept from step to step.

    Attributes
    ----------
    parameters : list of Tensor
        Those of all groups, in the order `step` takes gradients in.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, beta2: float = 0.999) -> None:
        self.parameters = [p for group in groups for p in group["params"]]
        self._beta2 = beta2
        self._peaks = [group["lr"] for group in groups]
        self._sizes = [len(group["params"]) for group in groups]
        self._means, self._squares = (
            [torch.zeros_like(p) for p in self.parameters] for _ in range(2)
        )
        self._steps = [torch.zeros((), device=p.device) for p in self.parameters]

    def step(self, grads: Sequence[Tensor], share: float) -> None:
        """Move the parameters, at a share of the peak rates."""
        begin = 0
        for size, peak in zip(self._sizes, self._peaks, strict=True):
            part = slice(begin, begin + size)
            begin += size
            with torch.no_grad():
                adam(
                    self.parameters[part],
                    # The fused step reads memory in order: a transposed gradient would be wrong.
                    [g.contiguous() for g in grads[part]],
                    self._means[part],
                    self._squares[part],
                    [],
                    self._steps[part],
                    fused=True,
                    amsgrad=False,
                    beta1=0.9,
                    beta2=self._beta2,
                    lr=peak * share,
                    weight_decay=0.0,
                    eps=1e-8,
                    maximize=False,
                )
