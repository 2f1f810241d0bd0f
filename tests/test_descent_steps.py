"""Adam, against torch's class; threads of steps."""

from __future__ import annotations

import pytest
import torch

from napari_implicitseg.descent_steps import Adam, torch_threads


def draws():
    """Parameters, and gradients of three steps: one of them lies transposed in memory."""
    g = torch.Generator().manual_seed(0)
    parameters = [torch.randn(size, generator=g) for size in ((3, 4), (5,), (2, 3, 4))]
    grads = [
        [
            torch.randn((4, 3), generator=g).T,
            torch.randn(5, generator=g),
            torch.randn((2, 4, 3), generator=g).mT,
        ]
        for _ in range(3)
    ]
    return parameters, grads


def test_steps_are_those_of_torch():
    parameters, grads = draws()
    rates, shares = (0.1, 0.02), (1.0, 0.5, 0.25)
    theirs = [p.clone().requires_grad_() for p in parameters]
    reference = torch.optim.Adam(
        [{"params": theirs[:2], "lr": rates[0]}, {"params": theirs[2:], "lr": rates[1]}],
        betas=(0.9, 0.95),
    )
    ours = [p.clone() for p in parameters]
    optimiser = Adam(
        [{"params": ours[:2], "lr": rates[0]}, {"params": ours[2:], "lr": rates[1]}], beta2=0.95
    )
    for step, share in zip(grads, shares, strict=True):
        for group, rate in zip(reference.param_groups, rates, strict=True):
            group["lr"] = rate * share
        for parameter, grad in zip(theirs, step, strict=True):
            parameter.grad = grad
        reference.step()
        optimiser.step(step, share)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other.detach(), atol=1e-6, rtol=1e-6)


def test_small_work_takes_one_thread_and_the_count_is_restored():
    torch.set_num_threads(2)
    with torch_threads(10):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with torch_threads(10**9):
        assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), torch_threads(10):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 2
