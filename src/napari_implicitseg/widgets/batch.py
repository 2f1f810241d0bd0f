"""The widget *Batch*: the looks of a `BatchSession`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QLineEdit, QWidget

from napari_implicitseg.atomic import replace_file
from napari_implicitseg.batch.recipes import read_recipe
from napari_implicitseg.errors import ImplicitSegError
from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._batch_inputs import free_target, has_file
from napari_implicitseg.widgets._batch_jobs import warm_up
from napari_implicitseg.widgets._batch_parts import (
    FailureTable,
    PathRow,
    WorkersBox,
    ask_folder,
    ask_new,
    ask_old,
)
from napari_implicitseg.widgets._batch_session import BatchSession
from napari_implicitseg.widgets._boxes import LayerComboBox
from napari_implicitseg.widgets._controls import button, fold, form, row, show_progress
from napari_implicitseg.widgets._panel import SessionPanel

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_implicitseg.batch.report import BatchReport

__all__ = ["BatchWidget"]

_LOOKS_AFTER = 400
"""Milliseconds after which somebody who types is taken to rest."""
_BOLD = "font-weight: bold; padding: 6px;"


class BatchWidget(SessionPanel):
    """Run a recipe on a volume of any size, block by block; go on where it was interrupted.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    doing = "The job"
    failure = "The job failed; see napari's message."
    cancelled = "Cancelled: the block that is worked on is finished, and all that is done stays."

    session: BatchSession

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, BatchSession, warm_up)
        self._soon.setInterval(_LOOKS_AFTER)
        self._suggested = ""
        self._make_inputs()
        self._make_actions()
        self._lay_out()
        self._connect()
        self._inputs_changed()
        self.session.tell()
        self.jobs.prepare()

    # Building -----------------------------------------------------------------

    def _make_inputs(self) -> None:
        self.layer_box = LayerComboBox(
            self.viewer, (Image, Labels), empty="a path or URL:", optional=True, lists=has_file
        )
        self.layer_box.setToolTip("A layer that comes from a file: the job reads that file.")
        self.source_row = PathRow(
            "OME-Zarr, zarr, TIFF or HDF5; a folder, a file or a URL.",
            "volume, affinities or labels",
            {
                "Zarr folder...": ask_folder("Source"),
                "File...": ask_old("Source", "Volumes (*.tif *.tiff *.h5 *.hdf5);;All files (*)"),
            },
        )
        self.recipe_row = PathRow(
            "Options of the job: what Save recipe of the other panels writes.",
            "recipe.yaml",
            {"File...": ask_old("Recipe", "Recipes (*.yaml *.yml)")},
        )
        self.target_row = PathRow(
            "Where results are written, and what is done is recorded. With a target that a job was "
            "begun in, Run goes on with it.",
            "results.zarr",
            {"File...": ask_new("Target", "OME-Zarr (*.zarr);;Report (*.json)")},
        )
        self.recipe_label = _text()
        self.workers_box = WorkersBox()
        self.block_edit = QLineEdit()
        self.block_edit.setPlaceholderText("as the recipe says")
        self.block_edit.setToolTip("Voxels of a block along each axis, such as 64, 128, 128.")
        self.restart_check = QCheckBox("Begin anew")
        self.restart_check.setToolTip(
            "Forget what was done in the target. If only the threshold changed, fragments and "
            "affinities are kept."
        )

    def _make_actions(self) -> None:
        self.estimate_button = button(
            "Estimate", "Try one block, and say what all would need. Nothing is written."
        )
        self.run_button = button("Run", "Begin the job, or go on where it was interrupted.")
        for control in (self.estimate_button, self.run_button):
            control.setStyleSheet(_BOLD)
        self.estimate_label, self.message_label, self.status_label = _text(), _text(), _text()
        self.dashboard_button = button("Dashboard...", "Open dask's dashboard in a browser.")
        self.dashboard_button.hide()
        self.save_button = button("Save report...", "Save what the job said as JSON.")
        self.save_button.hide()
        self.table = FailureTable()
        self._dashboard = ""

    def _lay_out(self) -> None:
        top = form()
        top.addRow("Source", self.layer_box)
        top.addRow("", self.source_row)
        top.addRow("Recipe", self.recipe_row)
        top.addRow("Target", self.target_row)
        top.addRow("Workers", self.workers_box)
        more = QWidget()
        lines = form(more)
        lines.addRow("Block size", self.block_edit)
        lines.addRow("", self.restart_check)
        layout = self.scrolled()
        layout.addLayout(top)
        layout.addWidget(self.recipe_label)
        self.advanced = fold("Advanced", more)
        layout.addWidget(self.advanced)
        layout.addWidget(more)
        both = row(self.estimate_button, self.run_button)
        both.setStretch(1, 1)
        layout.addLayout(both)
        layout.addWidget(self.advice)
        layout.addWidget(self.estimate_label)
        layout.addLayout(row(self.progress, self.cancel_button))
        layout.addWidget(self.message_label)
        layout.addWidget(self.status_label)
        layout.addWidget(self.dashboard_button)
        layout.addWidget(self.notes)
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.save_button)
        layout.addStretch(1)
        self.setMinimumWidth(335)

    def _connect(self) -> None:
        self.layer_box.layer_changed.connect(self._layer_chosen)
        for line in (self.source_row, self.recipe_row, self.target_row):
            line.changed.connect(self._inputs_changed)
        self.recipe_row.changed.connect(self._recipe_chosen)
        self.block_edit.textChanged.connect(self._inputs_changed)
        self.restart_check.toggled.connect(self._inputs_changed)
        self.workers_box.valueChanged.connect(self._inputs_changed)
        self.estimate_button.clicked.connect(self.estimate)
        self.run_button.clicked.connect(self.run)
        self.dashboard_button.clicked.connect(self.open_dashboard)
        self.save_button.clicked.connect(self.save)
        self.table.picked.connect(self._jump)
        self.session.described.connect(self._describe)
        self.session.status.connect(self._say_status)
        self.session.estimated.connect(self._say_estimate)
        self.session.started.connect(self._workers_started)
        self.session.failed.connect(self.table.show_failures)
        self.connect_session()
        # Deleted with the window while it is hidden, the panel hears of nothing else.
        self.destroyed.connect(self.jobs.close)

    # What the user does -------------------------------------------------------

    @guarded("Estimating")
    def estimate(self, *_: object) -> None:
        """Say what the job would need."""
        self.forget_problem()
        self.session.estimate()

    @guarded("Starting the job")
    def run(self, *_: object) -> None:
        """Begin the job, or go on with it."""
        self.forget_problem()
        self.session.run()
        # The next press goes on; it does not begin anew again.
        self.restart_check.setChecked(False)

    @guarded("Opening the dashboard")
    def open_dashboard(self, *_: object) -> None:
        """Open dask's dashboard in a browser."""
        QDesktopServices.openUrl(QUrl(self._dashboard))

    @guarded("Saving the report")
    def save(self, *_: object) -> None:
        """Save the report where the user says."""
        report = self.session.report
        path = self.ask_where_to_save() if report is not None else ""
        if report is not None and path:
            self.accept_with(lambda: _write(Path(path), report))

    def ask_where_to_save(self) -> str:
        """Ask for a file to write; empty if the user thinks better of it."""
        start = str(Path(self.target_row.path).with_suffix(".report.json"))
        return str(QFileDialog.getSaveFileName(self, "Save report", start, "Report (*.json)")[0])

    @guarded("Moving the view")
    def _jump(self, place: tuple[int, ...]) -> None:
        self.session.go_to(place)

    @guarded("Choosing a layer")
    def _layer_chosen(self, *_: object) -> None:
        layer = self.layer_box.layer
        if layer is not None and layer.source.path is not None:
            self.source_row.path = str(layer.source.path)
        self._inputs_changed()

    @guarded("Reading the recipe")
    def _recipe_chosen(self, *_: object) -> None:
        """Take source and target of a recipe that names them, where none are chosen."""
        try:
            recipe = read_recipe(self.recipe_row.path)
        except ImplicitSegError:
            return  # The session says what is wrong.
        if recipe.source is not None and not self.source_row.path:
            self.source_row.path = recipe.source
        if recipe.target is not None and self.target_row.path in ("", self._suggested):
            self.target_row.path = recipe.target

    @guarded("Reading the choices")
    def _inputs_changed(self, *_: object) -> None:
        layer = self.layer_box.layer
        if layer is not None and str(layer.source.path) != self.source_row.path:
            self.layer_box.layer = layer = None
        self._suggest_target()
        self.session.use(
            source=self.source_row.path,
            recipe=self.recipe_row.path,
            target=self.target_row.path,
            layer=layer,
            workers=self.workers_box.workers,
            block_shape=self.block_edit.text(),
            restart=self.restart_check.isChecked(),
        )

    def _suggest_target(self) -> None:
        """Fill in a target as long as the user has chosen none."""
        if self.target_row.path not in ("", self._suggested) or self.session.is_running:
            return
        if not self.source_row.path or not self.recipe_row.path:
            return
        try:
            config = read_recipe(self.recipe_row.path).config()
        except ImplicitSegError:
            return
        suggested = free_target(self.source_row.path, config.job, str(config.name))
        if suggested != self._suggested:
            self._suggested = suggested
            self.target_row.path = suggested

    # What the session and the jobs say ----------------------------------------

    def _describe(self, text: str) -> None:
        _say(self.recipe_label, text)

    def _say_status(self, text: str) -> None:
        _say(self.status_label, text)

    def _say_estimate(self, text: str) -> None:
        _say(self.estimate_label, text)

    def _workers_started(self, dashboard: str) -> None:
        """Offer dask's dashboard while there is one."""
        self._dashboard = dashboard
        self.dashboard_button.setVisible(bool(dashboard))

    def show_outcome(self, outcome: BatchReport | None) -> None:
        """Show a report, or that there is none."""
        self.show_notes(() if outcome is None else outcome.warnings)
        self.save_button.setVisible(outcome is not None)

    def show_busy(self, busy: bool) -> None:
        """Show whether a job runs."""
        super().show_busy(busy)
        running = busy and self.session.is_running
        for control in (self.run_button, self.estimate_button):
            control.setEnabled(not running)
        if not busy:
            _say(self.message_label, "")

    def _show_progress(self, fraction: float, message: str) -> None:
        show_progress(self.progress, fraction, f"{100 * fraction:.0f} %")
        _say(self.message_label, message)

    # Life cycle ---------------------------------------------------------------

    def pause(self) -> None:
        """Go quiet while the panel is hidden; but a job goes on behind other panels."""
        if not (self.session.is_running and self.is_behind_others()):
            super().pause()

    def on_close(self) -> None:
        """Disconnect from the viewer."""
        super().on_close()
        self.layer_box.disconnect_layers()


def _text() -> QLabel:
    """Make a text that is hidden while it is empty."""
    made = QLabel()
    made.setWordWrap(True)
    made.hide()
    return made


def _say(label: QLabel, text: str) -> None:
    """Show a text, or hide it."""
    label.setText(text)
    label.setToolTip(text)
    label.setVisible(bool(text))


def _write(path: Path, report: Any) -> None:
    """Write a report; the dialog has asked whether to replace a file."""
    with replace_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(report.document(), indent=1) + "\n", encoding="utf-8")
