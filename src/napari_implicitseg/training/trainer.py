"""Training of a network, which may be stopped and resumed at any step."""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel

from napari_implicitseg.devices import lacks_compiler, lacks_memory
from napari_implicitseg.errors import Cancelled, FileError, InputError
from napari_implicitseg.models.folder import check_storable
from napari_implicitseg.models.precision import autocast, training_format, training_precision
from napari_implicitseg.predictors.architectures import build_network
from napari_implicitseg.training.affinity_task import AffinityTask
from napari_implicitseg.training.batches import Prefetcher
from napari_implicitseg.training.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    check_folder,
    optimizer_tensors,
    restore_optimizer,
)
from napari_implicitseg.training.identity import check_same
from napari_implicitseg.training.journal import Journal
from napari_implicitseg.training.objective import Objective
from napari_implicitseg.training.optimizer import make_optimizer, moving_average
from napari_implicitseg.training.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from napari_implicitseg._types import Progress
    from napari_implicitseg.config import TrainConfig
    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.predictors.architectures import Network
    from napari_implicitseg.training.patches import Batch
    from napari_implicitseg.training.task import Task

__all__ = ["run_training", "train"]

_GO_ON = "The training is kept up to step {}: mend this, and resume it (resume=True, --resume)."
_NO_COMPILER = (
    "torch.compile does not work here ({}). Train without compiling, or install a C++ compiler."
)


def train(
    volumes: Any,
    config: TrainConfig,
    out: Path,
    *,
    start: AffinityModel | None = None,
    resume: bool,
    device: torch.device,
    progress: Progress | None,
) -> AffinityModel:
    """Train a network for affinities and keep the best of it in a model folder.

    Parameters
    ----------
    volumes : see `checked_volumes`
    config : TrainConfig
    out : Path
        Folder of the model; its checkpoint lies in `training/`.
    start : AffinityModel, optional
        Whose weights come first.
    resume : bool
        Go on from the checkpoint in `out`, if there is one.
    device : torch.device
    progress : Progress or None

    Raises
    ------
    InputError, FileError
        If volumes, options and folder do not go together.
    Cancelled
        If `progress` asked to stop; the checkpoint holds all steps done.
    """
    plan = make_plan(volumes, config, start)
    task = AffinityTask(plan, config, Objective(config, plan.offsets, plan.spacing))
    made: AffinityModel = run_training(task, out, resume=resume, device=device, progress=progress)
    return made


def run_training(
    task: Task, out: Path, *, resume: bool, device: torch.device, progress: Progress | None
) -> Any:
    """Train what a task says, and keep the best of it in a model folder.

    Parameters
    ----------
    task : Task
    out, resume, device, progress
        See `train`.

    Returns
    -------
    AffinityModel or SemanticModel
        What `Task.model` makes of the weights that were kept.
    """
    check_folder(out, resume=resume)
    with _usual_torch():
        training = _Training(task, out, device)
        check_storable(training.model())
        if resume and (out / CHECKPOINT).is_file():
            training.restore(Checkpoint.read(out / CHECKPOINT))
        try:
            training.run(progress)
        finally:
            training.journal.close()
        return training.result()


@contextlib.contextmanager
def _usual_torch() -> Iterator[None]:
    """Take gradients, in float32, whatever the caller has set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(before)


class _DivergedError(InputError):
    """The loss is no number."""


class _Training:
    """A network on its way through the steps.

    Parameters
    ----------
    task : Task
    out : Path
    device : torch.device
    """

    def __init__(self, task: Task, out: Path, device: torch.device) -> None:
        config = task.config
        self._task, self._config, self._out, self._device = task, config, out, device
        network = build_network(
            {"architecture": task.network.kind, **task.network.to_json()}, seed=config.seed
        )
        start = task.start()
        if start is not None:
            network.load_state_dict(start)
        self._patch = task.patch_shape
        self._precision = self._usable_precision()
        self._format = training_format(task.network.ndim, device, self._precision)
        self._network = network.to(device).to(memory_format=self._format)  # type: ignore[call-overload]
        self._average = AveragedModel(
            self._network, multi_avg_fn=moving_average(config.average), use_buffers=True
        )
        self._optimizer = make_optimizer(self._network, config)
        # What must not change between the runs of one training. Parts of all images are read: what
        # is wrong with them is found before the first step.
        self._identity = task.identity(self._network)
        self._forward = torch.compile(self._network) if config.compile else self._network
        self._step, self._saved = 0, -1
        self._best: dict[str, Tensor] = {}
        self.journal = Journal(
            out / CHECKPOINT.parent,
            config.steps,
            figure=task.figure,
            rank=task.rank,
            told=task.told,
        )

    def run(self, progress: Progress | None) -> None:
        """Take the steps that are left; with too little memory in smaller patches."""
        while self._step < self._config.steps:
            try:
                self._run(progress)
            except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
                if self._config.compile and lacks_compiler(error):
                    raise InputError(_NO_COMPILER.format(str(error).partition("\n")[0])) from error
                if not lacks_memory(error):
                    raise
                self._shrink(error)
        with self._saved_first():
            self._measure()  # If that was where the training has stopped.
        if not self._best:
            self._keep()
        self._save()

    @contextlib.contextmanager
    def _saved_first(self) -> Iterator[None]:
        """Save before an image that cannot be learned from, or measured, ends it all."""
        try:
            yield
        except _DivergedError:
            raise
        except (InputError, FileError) as error:
            if not self._step:
                raise
            self._save()
            raise type(error)(f"{error} {_GO_ON.format(self._step)}") from error

    def _run(self, progress: Progress | None) -> None:
        """Take the steps that are left."""
        config = self._config
        sampler = self._task.sampler(self._patch)
        steps = range(self._step, config.steps)
        ahead = Prefetcher(sampler, steps, batch_size=config.batch_size, workers=config.workers)
        with self._saved_first(), ahead as batches:
            self._measure()
            for batch in batches:
                self._take(batch.to(self._device))
                self._measure()
                if self._is_due(config.checkpoint_every):
                    self._save()
                self._tell(progress)

    def _is_due(self, every: int) -> bool:
        """Whether something is to be done after this step."""
        return self._step % every == 0 or self._step == self._config.steps

    def _take(self, batch: Batch) -> None:
        """Take one step."""
        begin = time.perf_counter()
        rate = self._task.rate(self._step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._network.train()
        raw = batch.raw.to(memory_format=self._format)
        with autocast(self._device, self._precision):
            logits = self._forward(raw)
        if not bool(torch.isfinite(logits.detach()).all()):
            raise self._diverged()
        loss = self._task.objective(logits, batch, self._step)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._task.gradient_norm)
        value = float(loss.detach())
        if value != value:
            raise self._diverged()
        self._optimizer.step()
        self._average.update_parameters(self._network)
        self._step += 1
        self.journal.step(self._step, value, rate, time.perf_counter() - begin)

    def _diverged(self) -> InputError:
        """Return the error for figures that are no numbers."""
        return _DivergedError(
            f"The training diverged at step {self._step}: its loss is no number. Train anew with "
            f"a learning rate below {self._config.learning_rate:g}."
        )

    def _measure(self) -> None:
        """Measure the averaged weights if that is due, and keep the best."""
        due = self._step and self._is_due(self._config.validate_every)
        if not due or not self._task.has_validation():
            return
        figure, before = self._task.figure, self.journal.best
        if any(figure in row and row["step"] == self._step for row in self.journal.history):
            return
        self._saved = -1
        self.journal.validation(self._step, self._task.validate(self.model(), self._device))
        if self.journal.best != before:
            self._keep()

    def _keep(self) -> None:
        """Write the averaged weights as the model."""
        self._best = {
            name: tensor.detach().cpu().clone()
            for name, tensor in self._averaged().state_dict().items()
        }
        self.result().save(self._out)

    def _averaged(self) -> Network:
        """Network whose weights are the moving average."""
        module: Network = self._average.module.eval()  # type: ignore[assignment]
        return module

    def model(self) -> Any:
        """Model of the weights as they are now."""
        return self._model(self._averaged())

    def _model(self, network: Network, figures: dict[str, Any] | None = None) -> Any:
        """Model of a network as it is now."""
        found = figures or {}
        return self._task.model(
            network,
            self._out.resolve().name,
            found,
            step=int(found.get("step", self._step)),
            patch_shape=self._patch,
        )

    def _tell(self, progress: Progress | None) -> None:
        """Report; stops with a checkpoint if the callback asks to."""
        if progress is None:
            return
        try:
            progress(self._step / self._config.steps, self.journal.line())
        except Cancelled:
            self._save()
            raise

    def _shrink(self, error: BaseException) -> None:
        """Halve the longest side of the patches."""
        least = [2 * s for s in self._task.network.stride]
        sides = list(self._patch)
        free = [n if n >= 2 * small else 0 for n, small in zip(sides, least, strict=True)]
        if not any(free):
            raise InputError(
                f"There is not enough memory for patches of {self._patch}. Use a smaller width, "
                "depth or batch size."
            ) from error
        axis = free.index(max(free))
        step = self._task.network.stride[axis]
        sides[axis] = sides[axis] // 2 // step * step
        warnings.warn(
            f"There is not enough memory for patches of {self._patch}: the training goes on with "
            f"{tuple(sides)}.",
            stacklevel=2,
        )
        self._patch = tuple(sides)
        self._precision = self._usable_precision()

    def _usable_precision(self) -> str:
        """Precision for the patches as they are."""
        return training_precision(
            self._config.precision, self._device, self._patch, self._task.network.stride
        )

    def _save(self) -> None:
        """Write the checkpoint, unless it is there."""
        if self._saved == self._step:
            return
        Checkpoint(
            step=self._step,
            plan={**self._identity, "patch": list(self._patch)},
            parts={
                "network": self._network.state_dict(),
                "average": self._average.state_dict(),
                "best": self._best,
                "optimizer": optimizer_tensors(self._optimizer, self._network),
            },
            history=self.journal.history,
        ).write(self._out / CHECKPOINT)
        self._saved = self._step

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint was written.

        Raises
        ------
        FileError
            If it belongs to a training with other options; names the first.
        """
        check_same(self._identity, checkpoint.plan, self._out)
        try:
            self._take_over(checkpoint)
        except (KeyError, RuntimeError, AttributeError, ValueError, TypeError) as error:
            raise FileError(
                f"The checkpoint in '{self._out}' is damaged ({type(error).__name__}: {error}). "
                "Train anew into another folder."
            ) from error
        if self._best:
            # The folder may have been written to after the checkpoint, or half.
            self.result().save(self._out)

    def _take_over(self, checkpoint: Checkpoint) -> None:
        """Take the state of a checkpoint."""
        self._patch = tuple(checkpoint.plan["patch"])
        self._precision = self._usable_precision()
        self._network.load_state_dict(checkpoint.parts["network"])
        self._average.load_state_dict(checkpoint.parts["average"])
        restore_optimizer(self._optimizer, self._network, checkpoint.parts.get("optimizer", {}))
        self._best = dict(checkpoint.parts.get("best", {}))
        if not 0 <= checkpoint.step <= self._config.steps:
            raise ValueError(f"step {checkpoint.step} of {self._config.steps}")
        self._step = self._saved = checkpoint.step
        self.journal.restore(checkpoint.history)

    def result(self) -> Any:
        """Return the model of the weights that were kept."""
        network = copy.deepcopy(self._averaged()).cpu()
        network.load_state_dict(self._best)
        return self._model(network.eval().requires_grad_(False), self.journal.best)
