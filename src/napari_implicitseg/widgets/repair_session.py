"""What the repair widget does, apart from its looks.

The session asks for repairs, shows the latest outcome in a preview layer,
notices when the masks change under it, and writes accepted objects. It knows
napari's layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.ids import among, as_ids
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._camera import look_at
from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES
from napari_implicitseg.widgets._preview import remove_quietly
from napari_implicitseg.widgets._repair_accept import repaired_layer, write_masks
from napari_implicitseg.widgets._repair_inputs import RepairInputs, advise, build_request
from napari_implicitseg.widgets._scribble_inputs import region_shown
from napari_implicitseg.widgets._seen import Seen
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._repair_run import RepairOutcome, RepairRequest

__all__ = ["RepairSession"]

_SMALL = 40
"""Objects of so many pixels across are outlined by one pixel, larger ones by two."""


class RepairSession(Session["RepairOutcome"]):
    """Repairs masks in one viewer.

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

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], RepairOutcome]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        super().__init__(viewer, submit, cancel, postpone)
        self.inputs = RepairInputs()
        self.outcome: RepairOutcome | None = None
        self._layer: Labels | None = None
        self._running: RepairRequest | None = None
        self._running_for = self._shown_for = self.inputs
        # The masks as they were when the preview was asked for, and the undo history then.
        self._running_seen = self._seen = Seen.nothing()
        self._was_stale = False
        self._told_elsewhere = ""
        self._outline = 1
        viewer.dims.events.current_step.connect(self._on_step)
        viewer.dims.events.ndisplay.connect(self._colour)

    # What the user has chosen -------------------------------------------------

    def use(self, **changes: Any) -> None:
        """Change inputs; see `RepairInputs` for their names."""
        new = replace(self.inputs, **changes)
        if new == self.inputs:
            return
        self._unwatch()
        old, self.inputs = self.inputs, new
        self._watch()
        if old.source is not new.source:
            self.stop()
            self.drop_preview()
        self.tell()

    # Repairing ----------------------------------------------------------------

    def preview(self) -> None:
        """Ask for a repair of the masks as they are now."""
        self.stop()
        try:
            request = build_request(self.viewer, self.inputs)
        except ImplicitSegError as error:
            self.refused.emit(error)
            return
        self._running, self._running_for = request, self.inputs
        self._running_seen = Seen.of(self.inputs.source, request)
        self.told.emit(f"Repairing '{request.name}'...")
        self._submit(request.run)

    def receive(self, outcome: RepairOutcome) -> None:
        """Show what a repair came to; called in the main thread."""
        source = self.inputs.source
        if outcome.request is not self._running or source not in self.viewer.layers:
            return
        self._running = None
        self._seen, self._shown_for = self._running_seen, self._running_for
        self._show(outcome)
        self.tell()

    def stop(self) -> None:
        """Cancel the repair that runs, or note that it failed; what is shown stays."""
        self._cancel()
        self._running = None

    @property
    def is_stale(self) -> bool:
        """Whether the masks have changed since the preview was asked for."""
        outcome, source = self.outcome, self.inputs.source
        if outcome is None or source is None:
            return False
        return self._seen.differs(source, outcome.request.region)

    def look(self) -> None:
        """Notice that the masks have changed, or are again as they were."""
        if self.outcome is None:
            return
        stale = self.is_stale
        if stale != self._was_stale:
            self.tell()

    # Looking ------------------------------------------------------------------

    def jump(self, label: int) -> None:
        """Move the view to an object of the preview."""
        outcome, source = self.outcome, self.inputs.source
        if outcome is None or source is None:
            return
        after = outcome.labels == label
        before = outcome.request.labels
        was = as_ids(before) == label if isinstance(before, np.ndarray) else after
        look_at(self.viewer, source, outcome.request.region, after | was, after ^ was)

    # Accepting ----------------------------------------------------------------

    def accept(self, labels: Sequence[int] | None = None) -> None:
        """Write objects of the preview to where the user wants them.

        Parameters
        ----------
        labels : sequence of int, optional
            Ids of the objects; all of the preview by default.

        Raises
        ------
        InputError
            If there is no preview that is up to date, or the layer cannot be written.
        """
        outcome, source = self.outcome, self.inputs.source
        chosen = () if outcome is None else tuple(row.label for row in outcome.rows)
        if labels is not None:
            chosen = tuple(label for label in chosen if label in set(labels))
        if outcome is None or source is None or not chosen:
            raise InputError("There is no repaired mask to accept. Press Preview first.")
        if self.is_stale:
            raise InputError(
                f"Layer '{source.name}' has changed since the preview, which would be lost. Press "
                "Preview again, then accept."
            )
        same = self.inputs.target == "same"
        if same and not isinstance(source, Labels):
            raise InputError(
                f"Layer '{source.name}' is an image, which holds no masks. Write to a new layer."
            )
        region = outcome.request.region
        layer = source if same else repaired_layer(self.viewer, source, region)
        assert isinstance(layer, Labels)
        # Not to be taken for an edit of the user: the masks are as accepted afterwards.
        shown, self.outcome = self.outcome, None
        try:
            kept = write_masks(layer, region, outcome.labels, chosen, protect=not same)
        finally:
            self.outcome = shown
        self._seen = self._seen.again(source, region)
        self._show(_without(outcome, chosen))
        self.told.emit(_sentence(len(chosen), layer.name, kept))

    # Life cycle ---------------------------------------------------------------

    def pause(self) -> None:
        """Stop watching and take the preview away."""
        self._unwatch()
        self.stop()
        self.drop_preview()

    def resume(self) -> None:
        """Watch again."""
        self._watch()
        self.tell()

    def close(self) -> None:
        """Let go of the viewer's layers."""
        self.pause()
        self.viewer.dims.events.ndisplay.disconnect(self._colour)
        self.viewer.dims.events.current_step.disconnect(self._on_step)
        self.inputs = RepairInputs()

    def drop_preview(self) -> None:
        """Forget the outcome and remove the preview layer."""
        self.outcome = None
        self._seen = Seen.nothing()
        layer, self._layer = self.layer, None
        if layer is not None:
            remove_quietly(self.viewer, layer)
        self.shown.emit(None)

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        if self._running is not None:
            return
        self._was_stale = self.is_stale
        other = self._shown_for.computed != self.inputs.computed
        advice = advise(self.inputs, self.outcome, stale=self._was_stale, other=other)
        self._told_elsewhere = self._elsewhere()
        self.told.emit(self._told_elsewhere or advice)

    def _elsewhere(self) -> str:
        """Say that the preview is of another slice than the one shown, if it is."""
        outcome, source = self.outcome, self.inputs.source
        if outcome is None or source is None or len(outcome.request.region.index) != source.ndim:
            return ""
        index = outcome.request.region.index
        shown = region_shown(self.viewer, source, self.inputs.scope).index
        pairs = [p for p in zip(index, shown, strict=True) if None not in p and p[0] != p[1]]
        if not pairs:
            return ""
        place = ", ".join(str(was) for was, _ in pairs)
        return (
            f"The preview is of slice {place}, not of the one shown. Press Preview to repair this "
            "one; accepting writes to that one."
        )

    def _on_step(self, event: object) -> None:
        # To tell compares the masks: not at every slice scrolled past.
        if self._elsewhere() != self._told_elsewhere:
            self.tell()

    # The preview layer --------------------------------------------------------

    @property
    def layer(self) -> Labels | None:
        """The preview layer, if it is in the viewer; users may delete it."""
        return self._layer if self._layer in self.viewer.layers else None

    def _show(self, outcome: RepairOutcome) -> None:
        """Show an outcome in the preview layer, or none if no object is left of it."""
        source = self.inputs.source
        if source is None or (not outcome.rows and self.outcome is not None):
            self.drop_preview()
            return
        self.outcome = outcome
        across = np.median([row.after for row in outcome.rows] or [0]) ** (1 / outcome.labels.ndim)
        self._outline = 1 if across < _SMALL else 2
        data = np.zeros(source.data.shape, np.uint32)
        outcome.request.region.take(data)[...] = outcome.labels
        layer = self.layer
        if layer is not None and layer.data.shape == data.shape:
            layer.data = data
            _layers.align(layer, source)
        else:
            self._add_layer(data, source)
        self._colour()
        self.shown.emit(outcome)

    def _add_layer(self, data: NDArray[np.uint32], source: Labels | Image) -> None:
        """Add the preview layer on top, without taking the selection from the user."""
        old = self.layer
        active = self.viewer.layers.selection.active
        if old is not None:
            self.viewer.layers.remove(old)
        layer = Labels(
            data,
            name=f"{source.name} repair preview",
            metadata={HIDDEN_FROM_CHOICES: True},
            opacity=1.0,
            **_layers.like(source),
        )
        self.viewer.layers.append(layer)
        layer.editable = False
        self.viewer.layers.selection.active = active
        self._layer = layer

    def _colour(self, event: object = None) -> None:
        """Draw white outlines in 2D; in 3D, where napari has none, bodies in their colours."""
        layer, source = self.layer, self.inputs.source
        if layer is None or source is None:
            return
        flat = self.viewer.dims.ndisplay == 2
        layer.contour = self._outline if flat else 0
        if flat or not isinstance(source, Labels):
            layer.colormap = DirectLabelColormap(color_dict={None: "white", 0: "transparent"})
        else:
            layer.colormap = source.colormap

    # Watching the masks -------------------------------------------------------

    def _watch(self) -> None:
        source = self.inputs.source
        if source is not None:
            source.events.set_data.connect(self._on_change)
            if isinstance(source, Labels):
                source.events.paint.connect(self._on_change)

    def _unwatch(self) -> None:
        source = self.inputs.source
        if source is not None:
            source.events.set_data.disconnect(self._on_change)
            if isinstance(source, Labels):
                source.events.paint.disconnect(self._on_change)

    def _on_change(self, event: object) -> None:
        source = self.inputs.source
        region = None if self.outcome is None else self.outcome.request.region
        if source is not None and region is not None and len(region.index) != source.ndim:
            self.drop_preview()  # It speaks of an array of other axes.
            self.tell()
        if self.outcome is not None:
            self._postpone()  # Polygons and fills are told of before they are written.


def _without(outcome: RepairOutcome, labels: Sequence[int]) -> RepairOutcome:
    """Take accepted objects out of an outcome."""
    rows = tuple(row for row in outcome.rows if row.label not in set(labels))
    rest = among(outcome.labels, [row.label for row in rows])
    return replace(
        outcome, rows=rows, labels=np.where(rest, outcome.labels, 0).astype(np.uint32, copy=False)
    )


def _sentence(count: int, name: str, kept: int) -> str:
    """Tell a user about an accept."""
    return (
        f"Accepted {count} object{'s' * (count != 1)} into '{name}'."
        + (f" {kept} voxels you drew there were kept." if kept else "")
        + " Ctrl+Z in that layer takes them back."
    )
