"""What the batch widget has done in its thread: a look at a target, an estimate, the job itself.

Nothing here knows Qt or touches a layer.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import Cancelled, ImplicitSegError
from napari_implicitseg.widgets._batch_source import open_picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_implicitseg._types import Progress
    from napari_implicitseg.batch.blocks import BlockGrid
    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.batch.estimate import Estimate
    from napari_implicitseg.batch.report import BatchReport, BlockEvent
    from napari_implicitseg.volumes.volume import Grid
    from napari_implicitseg.widgets._batch_source import Picture
    from napari_implicitseg.widgets._session import Report

__all__ = [
    "BatchRequest",
    "BlockNews",
    "Estimated",
    "Finished",
    "Problem",
    "Seen",
    "Started",
    "TimeLeft",
    "apart_from_main",
    "told_time",
    "warm_up",
]

_NEWS_EVERY = 0.1
"""Seconds between two news of blocks: more often nobody can see."""
_DASHBOARD = "dashboard "


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a job would do, and how far it has come in its target.

    Attributes
    ----------
    blocks : BlockGrid
    voxels : Grid
        Where the results lie.
    output : Path or None
        Group of the label image, or of the affinities.
    stage : str
        The last one that was begun; empty if none was.
    done : int
        Its blocks that are done.
    complete : bool
        Whether the whole job was done.
    changed : tuple of str
        How the job differs from the one begun in the target.
    picture : Picture, optional
        The source, where no layer shows it.
    """

    blocks: BlockGrid
    voxels: Grid
    output: Path | None
    stage: str = ""
    done: int = 0
    complete: bool = False
    changed: tuple[str, ...] = ()
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why nothing can be seen, for a user who has not finished choosing."""

    error: ImplicitSegError


@dataclass(frozen=True, slots=True)
class Estimated:
    """What a job would need."""

    found: Estimate


@dataclass(frozen=True, slots=True)
class BlockNews:
    """Blocks that something has become of since the last news."""

    events: tuple[BlockEvent, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """Workers are there.

    Attributes
    ----------
    dashboard : str
        Its address.
    """

    dashboard: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The report, and blocks that were in no news yet."""

    report: BatchReport
    events: tuple[BlockEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """A job over blocks.

    Attributes
    ----------
    source, target : str
    config : BatchConfig
    bare : bool
        Whether no layer shows the source, so that it is opened to be one.
    """

    source: str
    target: str
    config: BatchConfig
    bare: bool = False

    def look(self, report: Report) -> Seen | Problem:
        """See how far the job has come, or why there is no such job; in the thread."""
        try:
            return self.see(report)
        except Cancelled:
            raise
        except ImplicitSegError as error:
            return Problem(error)

    def see(self, report: Report, *, shown: bool = False) -> Seen:
        """See how far the job has come; in the thread. Nothing is written.

        Parameters
        ----------
        report : Report
        shown : bool
            Whether blocks are shown, and so the source, if no layer does.

        Raises
        ------
        ImplicitSegError
            If source, target and options do not fit together.
        """
        from napari_implicitseg.batch.pipeline import make_plan

        report(0.0, "Looking at source and target")
        plan = make_plan(self.source, self.target, self.config)
        job = plan.job
        stage, done = _last_stage(job.folder / "done", len(job.grid))
        changed = () if self.config.restart else tuple(plan.changes())
        return Seen(
            changed=changed,
            picture=open_picture(self.source, self.config) if shown and self.bare else None,
            blocks=job.grid,
            voxels=plan.voxels,
            output=_output(self.config.job, job.labels, plan.target),
            stage=stage,
            done=done,
            complete=(job.folder / "report.json").is_file() and _is_ok(job.folder / "report.json"),
        )

    def estimate(self, report: Report) -> Estimated:
        """Try a block and say what all would need; in the thread."""
        from napari_implicitseg.batch.estimate import estimate

        report(0.0, "Trying a block")
        return Estimated(estimate(self.source, self.target, self.config))

    def run(self, report: Report) -> Finished:
        """Run the job; in the thread.

        Raises
        ------
        ImplicitSegError
            Whatever `run_batch` refuses.
        Cancelled
            If nobody wants it any more.
        """
        from napari_implicitseg import api

        with panel_words():
            report.show(self.see(report, shown=True))
        teller = _Teller(report)
        here = self.config.workers == 0 and self.config.scheduler is None
        with panel_words(), nullcontext() if here else apart_from_main():
            try:
                found = api.run_batch(
                    self.source,
                    self.target,
                    config=self.config,
                    progress=teller.progress,
                    watch=teller.watch,
                )
            except Cancelled:
                raise
            except ImplicitSegError:
                teller.flush()
                raise
        return Finished(found, tuple(teller.pending))


_WORDS = {
    "begin anew with restart (--restart)": "tick Begin anew under Advanced",
    "Begin anew with restart (--restart)": "Tick Begin anew under Advanced",
    " (--name)": " in the recipe",
    " (--scribbles)": " in the recipe (scribbles)",
    " (--block-shape)": " (Advanced)",
}
"""Flags of the command line, and what the panel has in their place."""


@contextmanager
def panel_words() -> Iterator[None]:
    """Speak of what the panel has, where errors speak of the command line."""
    try:
        yield
    except Cancelled:
        raise
    except ImplicitSegError as error:
        text = str(error)
        for flag, word in _WORDS.items():
            text = text.replace(flag, word)
        raise type(error)(text) from error


def _output(job: str, labels: Path, target: Path) -> Path | None:
    """Return where the image of a job is, if it makes one."""
    if job == "evaluate":
        return None
    return target if job == "predict" else labels


def _last_stage(done: Path, blocks: int) -> tuple[str, int]:
    """Return the stage over all blocks that was begun last, and how many of them are done."""
    if not done.is_dir():
        return "", 0
    found = [
        (folder.stat().st_mtime, folder.name, sum(1 for _ in folder.glob("*.json")))
        for folder in done.iterdir()
        if folder.is_dir() and folder.name != "once" and ":" not in folder.name
    ]
    if not found:
        return "", 0
    # A stage begins when the one before is done.
    open_ones = [entry for entry in found if entry[2] < blocks] or found
    _, name, count = max(open_ones)
    return name, count


def _is_ok(path: Path) -> bool:
    """Whether a report says that all is done."""
    import json

    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("ok"))
    except (OSError, ValueError, AttributeError):
        return False


@dataclass(slots=True)
class TimeLeft:
    """How long a job still takes, by how far it has come since it was looked at first."""

    start: float = 0.0
    share: float = -1.0

    def reset(self) -> None:
        """Begin anew: what comes next was not worked on, or not at this pace."""
        self.share = -1.0

    def at(self, share: float, now: float) -> float | None:
        """Return the seconds left, or None while nobody knows."""
        if self.share < 0:
            self.start, self.share = now, share
        gone = share - self.share
        if gone <= 0 or now <= self.start:
            return None
        return (now - self.start) * (1 - share) / gone


@dataclass(slots=True)
class _Teller:
    """Hands on what a running job says, as often as somebody can see it."""

    report: Report
    pending: list[BlockEvent] = field(default_factory=list)
    told: float = 0.0
    left: TimeLeft = field(default_factory=TimeLeft)

    def watch(self, event: BlockEvent) -> None:
        """Take down what became of a block."""
        if event.state == "done before":
            self.left.reset()
        self.pending.append(event)
        if time.monotonic() - self.told >= _NEWS_EVERY:
            self.flush()

    def flush(self) -> None:
        """Hand on what was taken down."""
        self.told = time.monotonic()
        if self.pending:
            self.report.show(BlockNews(tuple(self.pending)))
            self.pending.clear()

    def progress(self, share: float, message: str, /) -> None:
        """Say how far the job has come; raises `Cancelled` once nobody listens."""
        if _DASHBOARD in message:
            self.report.show(Started(message.partition(_DASHBOARD)[2]))
        seconds = self.left.at(share, time.monotonic())
        left = "" if seconds is None else f", about {told_time(seconds)} left"
        self.report(share, message + left)


def told_time(seconds: float) -> str:
    """Say how long something takes."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def apart_from_main() -> Iterator[None]:
    """Keep new processes from running the script napari was started from.

    Those that Python spawns import it, and a script without ``if __name__ == "__main__"`` would
    open a second napari in each. Nothing that is sent to workers is of that script.
    """
    main: Any = sys.modules["__main__"]
    kept = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    vars(main).pop("__file__", None)
    try:
        yield
    finally:
        vars(main).update(kept)


def warm_up(progress: Progress) -> None:
    """Import what a job needs."""
    from napari_implicitseg.batch import estimate, neuron_run  # noqa: F401

    progress(1.0, "Warmed up")
