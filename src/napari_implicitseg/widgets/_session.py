"""What the sessions of the widgets have in common: a viewer, and jobs asked for by signals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from psygnal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

__all__ = ["Report", "Session"]

OutcomeT = TypeVar("OutcomeT")


class Report(Protocol):
    """How a job speaks to the panel while it runs; raises `Cancelled` once nobody listens."""

    def __call__(self, fraction: float, message: str, /) -> None:
        """Say how far the job has come, 0 to 1, and what it does."""

    def show(self, outcome: object, /) -> None:
        """Show an outcome that is not the last."""


class Session(ABC, Generic[OutcomeT]):
    """What a widget does, apart from its looks.

    Parameters
    ----------
    viewer : ViewerModel
    submit : callable
        Runs a function of a progress callback in a thread; the latest wins.
    cancel : callable
        Drops what was submitted.
    postpone : callable
        Calls `look` on the next turn of the event loop.
    """

    told = Signal(str)
    """What the user can do now, in a sentence."""
    shown = Signal(object)
    """The outcome now shown, or None when nothing is."""
    refused = Signal(object)
    """An `ImplicitSegError`: a request that could not be made."""

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], OutcomeT]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        self.viewer = viewer
        self._submit = submit
        self._cancel = cancel
        self._postpone = postpone

    @abstractmethod
    def look(self) -> None:
        """Notice what the user has changed in the layers."""

    @abstractmethod
    def receive(self, outcome: OutcomeT) -> None:
        """Show what a job came to; called in the main thread."""

    def receive_early(self, outcome: OutcomeT) -> None:
        """Show an outcome that is not the last; called in the main thread."""

    @abstractmethod
    def stop(self) -> None:
        """Cancel the job that runs, or note that it failed."""

    @abstractmethod
    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""

    @abstractmethod
    def pause(self) -> None:
        """Stop watching and take the preview away."""

    @abstractmethod
    def resume(self) -> None:
        """Watch again."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the viewer's layers."""
