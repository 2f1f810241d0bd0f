"""What the batch widget does, apart from its looks.

The session looks at targets, asks for estimates and jobs, and shows their blocks and results. It
knows napari's layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal

from napari_implicitseg.batch.blocks import block_name
from napari_implicitseg.batch.recipes import read_recipe
from napari_implicitseg.errors import ImplicitSegError
from napari_implicitseg.widgets._batch_grid import BlocksView
from napari_implicitseg.widgets._batch_inputs import (
    STAGES,
    BatchInputs,
    build_request,
    describe,
    place_of,
    say_estimate,
)
from napari_implicitseg.widgets._batch_jobs import (
    BlockNews,
    Estimated,
    Finished,
    Problem,
    Seen,
    Started,
)
from napari_implicitseg.widgets._batch_results import ResultsView
from napari_implicitseg.widgets._batch_source import add_picture
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari.components import ViewerModel

    from napari_implicitseg.batch.report import BatchReport, BlockEvent, BlockFailure
    from napari_implicitseg.widgets._batch_jobs import BatchRequest

__all__ = ["BatchSession", "Failure"]

_PLANNED = ("source", "recipe", "target", "block_shape")
"""What is chosen that a look at the target depends on."""

Place = tuple[int, ...]
Failure = tuple[Place, str, str]
"""Place of a block that failed, its voxels, and what it failed in and why."""


class BatchSession(Session[Any]):
    """Runs jobs over blocks for one viewer.

    Parameters
    ----------
    viewer, submit, cancel, postpone
        See `Session`.
    """

    described = Signal(str)
    """What the recipe does."""
    status = Signal(str)
    """How far the job has come in its target."""
    estimated = Signal(str)
    """What the job would need; empty if that is not known."""
    started = Signal(str)
    """The address of dask's dashboard; empty if there is none."""
    failed = Signal(object)
    """Blocks that failed, a list of `Failure`."""

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], Any]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        super().__init__(viewer, submit, cancel, postpone)
        self.inputs = BatchInputs()
        self.blocks = BlocksView(viewer)
        self.results = ResultsView(viewer)
        self.report: BatchReport | None = None
        self.failures: dict[tuple[str, str], Failure] = {}
        self._running: Literal["", "look", "estimate", "run"] = ""
        self._request: BatchRequest | None = None
        self._seen: Seen | None = None
        self._shown = ""

    # What the user has chosen -------------------------------------------------

    def use(self, **changes: Any) -> None:
        """Change inputs; see `BatchInputs` for their names."""
        new = replace(self.inputs, **changes)
        if new == self.inputs:
            return
        old, self.inputs = self.inputs, new
        if old.recipe != new.recipe:
            self._describe()
        if any(getattr(old, name) != getattr(new, name) for name in _PLANNED):
            self._seen = None
            if not self.is_running:
                self.estimated.emit("")
                self.status.emit("")
                self._drop()
                self._postpone()
        self.tell()

    def _describe(self) -> None:
        """Say what the recipe does, or what is wrong with it."""
        path = self.inputs.recipe.strip()
        if not path:
            self.described.emit("")
            return
        try:
            self.described.emit(describe(read_recipe(path)))
        except ImplicitSegError as error:
            self.described.emit(str(error))

    @property
    def is_running(self) -> bool:
        """Whether a job over blocks runs."""
        return self._running == "run"

    # What can be asked for ----------------------------------------------------

    def look(self) -> None:
        """See how far a job with these inputs has come."""
        if self._running or not self.inputs.is_complete:
            return
        try:
            request = build_request(self.inputs)
        except ImplicitSegError as error:
            self.status.emit(str(error))
            return
        self._begin("look", request)
        self._submit(request.look)

    def estimate(self) -> None:
        """Ask what the job would need."""
        request = self._wanted()
        if request is not None:
            self._begin("estimate", request)
            self.told.emit("Trying one block to see what all would need...")
            self._submit(lambda report: _estimated(request, report))

    def run(self) -> None:
        """Begin the job, or go on with it."""
        request = self._wanted()
        if request is None:
            return
        self._begin("run", request)
        self.report = None
        self.failures.clear()
        self.failed.emit([])
        self.shown.emit(None)
        self.status.emit("")
        self.told.emit("Looking at source and target...")
        self._submit(request.run)

    def _wanted(self) -> BatchRequest | None:
        """Return the request of the present inputs; None if it is refused."""
        self._drop()
        try:
            return build_request(self.inputs)
        except ImplicitSegError as error:
            self.refused.emit(error)
            return None

    def _begin(self, kind: Literal["look", "estimate", "run"], request: BatchRequest) -> None:
        self._running, self._request = kind, request

    # What jobs come to --------------------------------------------------------

    def receive(self, outcome: Any) -> None:
        """Show what a job came to; called in the main thread."""
        self._running = ""
        if isinstance(outcome, Problem):
            self.status.emit(str(outcome.error))
        elif isinstance(outcome, Seen):
            self._seen = outcome
            self._say_seen(outcome)
        elif isinstance(outcome, Estimated):
            self.estimated.emit(say_estimate(outcome.found))
            self.tell()
        elif isinstance(outcome, Finished):
            self._finished(outcome)

    def receive_early(self, outcome: Any) -> None:
        """Show what a job says while it runs."""
        if isinstance(outcome, BlockNews):
            self._take(outcome.events)
            self.results.look()
        elif isinstance(outcome, Started):
            self.started.emit(outcome.dashboard)
        elif isinstance(outcome, Seen) and self._request is not None:
            self._seen = outcome
            place = self._show_blocks(outcome)
            if self.is_running:
                is_image = self._request.config.job == "predict"
                self.results.follow(outcome.output, place, is_image=is_image)
                self.told.emit("Working block by block. What is done is kept whatever happens.")

    def _show_blocks(self, seen: Seen) -> dict[str, Any]:
        """Show the blocks over the image; return where the volume lies."""
        request, layer = self._request, self.inputs.layer
        there = layer is not None and layer in self.viewer.layers
        place = place_of(layer if there else None, seen.blocks.shape, seen.voxels)
        if seen.picture is not None and request is not None and self._shown != request.source:
            self._shown = request.source  # Once: the user may remove it.
            add_picture(self.viewer, seen.picture)
        if request is not None:
            self.blocks.show(seen.blocks, place, request.target)
        return place

    def _take(self, events: Iterable[BlockEvent]) -> None:
        """Mark blocks, and list those that failed."""
        self.blocks.mark(events)
        before = len(self.failures)
        for event in events:
            if event.state == "failed":
                box = zip(event.start, event.stop, strict=True)
                where = ", ".join(f"{a}:{b}" for a, b in box)
                key = event.stage, block_name(event.place)
                self.failures[key] = (event.place, where, f"{_stage(event.stage)}: see below")
        if len(self.failures) != before:
            self.failed.emit([*self.failures.values()])

    def _finished(self, outcome: Finished) -> None:
        """Show the report, and all of the result if it is complete."""
        self._take(outcome.events)
        report = self.report = outcome.report
        for failure in report.failed:
            self.failures[failure.stage, failure.block] = _failure(failure)
        self.failed.emit([*self.failures.values()])
        self.started.emit("")
        if report.ok:
            self.results.finish()
            self.blocks.hide()
        self.shown.emit(report)
        self.tell()
        self._look_again()

    def _look_again(self) -> None:
        """See how far the job has come, once its thread has ended."""
        request = self._request
        if request is not None:
            self._running = "look"
            self._submit(replace(request, config=replace(request.config, restart=False)).look)

    def stop(self) -> None:
        """Cancel what runs, or note that it failed; what is done stays."""
        was_running = self.is_running
        self._drop()
        if was_running:
            self.started.emit("")
            self.results.look()
            self._look_again()

    def _drop(self) -> None:
        """Cancel what runs."""
        self._cancel()
        self._running = ""

    def go_to(self, place: Place) -> None:
        """Move the view to a block."""
        self.blocks.go_to(place)

    # Saying -------------------------------------------------------------------

    def _say_seen(self, seen: Seen) -> None:
        """Say how far the job has come."""
        total = len(seen.blocks)
        if seen.changed:
            text = (
                f"The target was begun with another recipe or source: {seen.changed[0]}. Tick "
                "Begin anew under Advanced (what does not depend on it is kept), or name another "
                "target."
            )
        elif seen.complete:
            text = f"All {total:,} blocks are done; Run has nothing left to do."
        elif seen.stage:
            text = f"{_stage(seen.stage)}: {seen.done:,} of {total:,} blocks are done; Run goes on."
        else:
            text = f"{total:,} blocks, none done yet."
        self.status.emit(text)

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        if not self.is_running:
            self.told.emit(self._advice())

    def _advice(self) -> str:
        inputs, report = self.inputs, self.report
        if report is not None and self._request is not None and self._is_same(self._request):
            return _say_report(report)
        if not inputs.is_complete:
            missing = [n for n in ("source", "recipe", "target") if not getattr(inputs, n).strip()]
            return f"Choose the {' and the '.join(missing)}."
        return "Press Run; Estimate says before what it takes."

    def _is_same(self, request: BatchRequest) -> bool:
        """Whether the inputs are still those of a request."""
        inputs = self.inputs
        return (inputs.source.strip(), inputs.target.strip()) == (request.source, request.target)

    # Life cycle ---------------------------------------------------------------

    def pause(self) -> None:
        """Stop; what is done stays."""
        self._drop()

    def resume(self) -> None:
        """See how far the job has come meanwhile."""
        self.tell()
        self.look()

    def close(self) -> None:
        """Let go of the viewer's layers; the results stay."""
        self._drop()
        self.blocks.remove()
        self.results.close()
        self.inputs, self.report, self._request = BatchInputs(), None, None


def _estimated(request: BatchRequest, report: Any) -> Estimated:
    """Look first, so that blocks can be seen while one of them is tried."""
    report.show(request.see(report, shown=True))
    return request.estimate(report)


def _stage(name: str) -> str:
    """Return what a stage is called."""
    name = name.partition(":")[0]
    return STAGES.get(name, name.capitalize())


def _failure(failure: BlockFailure) -> Failure:
    """Return a line of the list of blocks that failed."""
    place = tuple(map(int, failure.block.split("-")))
    where = ", ".join(f"{a}:{b}" for a, b in zip(failure.start, failure.stop, strict=True))
    return place, where, f"{_stage(failure.stage)}: {failure.error}"


def _say_report(report: BatchReport) -> str:
    """Say what came of a job."""
    if not report.ok:
        count = len(report.failed)
        return (
            f"{count} block{'s' * (count != 1)} failed; the others of that stage are done. Click "
            "one to see where it is, mend the cause, and press Run: it does the rest."
        )
    if report.figures:
        shown = {"voi": "VOI", "adapted_rand_error": "adapted Rand error"}
        told = [f"{v} {report.figures[k]:.3g}" for k, v in shown.items() if k in report.figures]
        return f"Compared in {report.seconds:.0f} s: {', '.join(told)}. Save report has the rest."
    facts = ", ".join(f"{number:,} {name}" for name, number in report.facts.items())
    name = Path(report.output).name
    return f"Done in {report.seconds:.0f} s{': ' if facts else ''}{facts}. The result is '{name}'."
