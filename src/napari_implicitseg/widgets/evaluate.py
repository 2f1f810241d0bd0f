"""The widget *Evaluate labels*: the looks of an `EvaluateSession`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QSpinBox,
    QTabWidget,
    QWidget,
)

from napari_implicitseg import evaluation_report
from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._boxes import LayerComboBox
from napari_implicitseg.widgets._controls import button, fold, form, row
from napari_implicitseg.widgets._evaluate_inputs import looks_like_truth, unit_of
from napari_implicitseg.widgets._evaluate_jobs import warm_up
from napari_implicitseg.widgets._evaluate_plot import EvaluatePlot
from napari_implicitseg.widgets._evaluate_session import EvaluateSession
from napari_implicitseg.widgets._evaluate_tables import FiguresTable, MistakesTable, figures_text
from napari_implicitseg.widgets._panel import SessionPanel
from napari_implicitseg.widgets._save_recipe import RecipeButton, evaluate_settings

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_implicitseg.hierarchy.components import CurvePoint
    from napari_implicitseg.mistakes import Mistake
    from napari_implicitseg.widgets._evaluate_jobs import EvaluateOutcome

__all__ = ["EvaluateWidget"]

_FOLLOWS_EVERY = 100
"""Milliseconds after which a moved threshold is noticed."""
_NOTHING = -1
"""Value of the box of the label left out that means none."""


class EvaluateWidget(SessionPanel):
    """Compare labels with the truth: figures, a curve, and the mistakes that cost most.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    doing = "Evaluating"
    failure = "The evaluation failed; see napari's message."
    cancelled = "Cancelled. Press Evaluate to start again."

    session: EvaluateSession

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, EvaluateSession, warm_up)
        self._make_inputs()
        self._make_actions()
        self._make_results()
        self._lay_out()
        self._connect()
        self._inputs_changed()
        self.session.tell()
        self.jobs.prepare()

    def choose(self, labels: Labels | None = None, truth: Labels | None = None) -> None:
        """Choose layers, as their boxes do; None leaves a choice as it is."""
        if labels is not None:
            self.labels_box.layer = labels
        if truth is not None:
            self.truth_box.layer = truth

    @property
    def is_working(self) -> bool:
        """Whether a job runs or waits to be shown, or curves are being drawn."""
        return super().is_working or self.plot.is_working

    # Building -----------------------------------------------------------------

    def _make_inputs(self) -> None:
        self.labels_box = LayerComboBox(
            self.viewer, (Labels,), empty="open a Labels layer first", suits=_suits
        )
        self.labels_box.setToolTip("The segmentation to judge, of any tool.")
        self.truth_box = LayerComboBox(
            self.viewer, (Labels,), empty="choose the truth", suits=looks_like_truth
        )
        self.truth_box.setToolTip("What is right, of the same voxels. Its ids may be others.")
        self.ignore_box = QSpinBox()
        self.ignore_box.setRange(_NOTHING, 2**31 - 1)
        self.ignore_box.setSpecialValueText("nothing")
        self.ignore_box.setPrefix("label ")
        self.ignore_box.setValue(0)
        self.ignore_box.setToolTip(
            "Label of the truth whose voxels are left out. 0 where the truth is not labelled "
            "everywhere; nothing where 0 means that there is no object, as in images of cells."
        )
        self.border_check = QCheckBox("Leave out borders up to")
        self.border_box = QDoubleSpinBox()
        self.border_box.setRange(0, 1e6)
        self.border_box.setEnabled(False)
        for control in (self.border_check, self.border_box):
            control.setToolTip(
                "Voxels up to this distance from a border of the truth, section by section, are "
                "left out, as in the CREMI challenge, which took 25 nm. In the unit of the layer "
                "of the truth."
            )
        self.anywhere_check = QCheckBox("Compare by index")
        self.anywhere_check.setToolTip(
            "Compare voxel by voxel even where scale or translate of the layers differ."
        )

    def _make_actions(self) -> None:
        self.evaluate_button = button("Evaluate", "Compare the labels with the truth.")
        self.evaluate_button.setStyleSheet("font-weight: bold; padding: 6px;")
        self.copy_button = button("Copy", "Copy all figures, to be pasted into a spreadsheet.")
        self.save_button = button(
            "Save...", "Save the report as JSON, with the worst mistakes, or its figures as CSV."
        )
        self.recipe_button = RecipeButton(self, lambda: evaluate_settings(self.session.inputs))
        self.best_button = button(
            "Go to best threshold", "Cut the neurons where their VOI is lowest."
        )

    def _make_results(self) -> None:
        self.figures = FiguresTable()
        self.plot = EvaluatePlot(get_theme(self.viewer.theme))
        self.point_label = QLabel()
        self.point_label.setWordWrap(True)
        self.splits = MistakesTable(
            ("Object", "Cut into"), ("Object of the truth.", "Segments, the largest first.")
        )
        self.merges = MistakesTable(
            ("Segment", "Joins"), ("Segment of the labels.", "Objects of the truth.")
        )
        self.tabs = QTabWidget()
        self.tabs.addTab(self.splits, "Worst splits")
        self.tabs.addTab(self.merges, "Worst merges")
        self._following = QTimer(self)
        self._following.setInterval(_FOLLOWS_EVERY)

    def _lay_out(self) -> None:
        top = form()
        top.addRow("Labels", self.labels_box)
        top.addRow("Truth", self.truth_box)
        top.addRow("Leave out", self.ignore_box)
        more = QWidget()
        lines = form(more)
        lines.addRow(self.border_check, self.border_box)
        lines.addRow(self.anywhere_check)
        layout = self.scrolled()
        layout.addLayout(top)
        self.advanced = fold("Advanced", more)
        layout.addWidget(self.advanced)
        layout.addWidget(more)
        layout.addWidget(self.evaluate_button)
        layout.addLayout(row(self.progress, self.cancel_button))
        layout.addWidget(self.advice)
        layout.addWidget(self.notes)
        layout.addWidget(self.figures, stretch=20)
        both = row(self.copy_button, self.save_button)
        both.setStretch(1, 1)
        layout.addLayout(both)
        layout.addWidget(self.plot)
        layout.addWidget(self.point_label)
        layout.addWidget(self.best_button)
        layout.addWidget(self.tabs, stretch=20)
        layout.addStretch(1)  # Takes all as long as there are no tables.
        layout.addWidget(self.recipe_button)
        self.setMinimumWidth(335)
        self.show_outcome(None)

    def _connect(self) -> None:
        for box in (self.labels_box, self.truth_box):
            box.layer_changed.connect(self._inputs_changed)
        self.ignore_box.valueChanged.connect(self._inputs_changed)
        self.border_check.toggled.connect(self._inputs_changed)
        self.border_box.valueChanged.connect(self._inputs_changed)
        self.anywhere_check.toggled.connect(self._inputs_changed)
        self.evaluate_button.clicked.connect(self.evaluate)
        self.copy_button.clicked.connect(self.copy)
        self.save_button.clicked.connect(self.save)
        self.best_button.clicked.connect(self.go_to_best)
        self.plot.picked.connect(self._move)
        self.splits.picked.connect(self._jump)
        self.merges.picked.connect(self._jump)
        self.session.moved.connect(self._show_point)
        self._following.timeout.connect(guarded("Following the threshold")(self._follow))
        for name in ("inserted", "removed", "renamed"):
            getattr(self.viewer.layers.events, name).connect(self._layers_changed)
        self.viewer.events.theme.connect(self._theme_changed)
        self.connect_session()

    # What the user does -------------------------------------------------------

    @guarded("Evaluating")
    def evaluate(self, *_: object) -> None:
        """Compare the layers now."""
        self.forget_problem()
        self.session.evaluate()

    @guarded("Copying")
    def copy(self, *_: object) -> None:
        """Put all figures onto the clipboard."""
        outcome, clipboard = self.session.outcome, QGuiApplication.clipboard()
        if outcome is not None and clipboard is not None:
            clipboard.setText(figures_text(evaluation_report.figure_rows(outcome.found)))
            self.tell("The figures are on the clipboard.")

    @guarded("Saving")
    def save(self, *_: object) -> None:
        """Save the report where the user says."""
        outcome = self.session.outcome
        path = self.ask_where_to_save() if outcome is not None else ""
        if outcome is None or not path:
            return
        rows = evaluation_report.figure_rows(outcome.found)
        self.accept_with(
            # The dialog has asked whether to replace a file.
            lambda: evaluation_report.write(Path(path), outcome.report(), rows, overwrite=True)
        )
        if Path(path).is_file():
            self.tell(f"Saved as '{Path(path).name}'.")

    def ask_where_to_save(self) -> str:
        """Ask for a file to write; empty if the user thinks better of it."""
        name = str(Path.home() / "evaluation.json")
        kinds = "Report (*.json);;Figures (*.csv)"
        return str(QFileDialog.getSaveFileName(self, "Save evaluation", name, kinds)[0])

    @guarded("Going to the best threshold")
    def go_to_best(self, *_: object) -> None:
        """Cut live neurons where their VOI is lowest."""
        outcome = self.session.outcome
        if outcome is not None and outcome.known is not None:
            best = outcome.known.curve.best()
            self.accept_with(lambda: self.session.move(best.threshold))

    @guarded("Moving the threshold")
    def _move(self, threshold: float) -> None:
        self.accept_with(lambda: self.session.move(threshold))

    @guarded("Moving the view")
    def _jump(self, mistake: Mistake) -> None:
        self.forget_problem()
        self.accept_with(lambda: self.session.jump(mistake))

    @guarded("Reading the choices")
    def _inputs_changed(self, *_: object) -> None:
        truth, ignore = self.truth_box.layer, self.ignore_box.value()
        self.ignore_box.setPrefix("" if ignore == _NOTHING else "label ")
        self.border_box.setEnabled(self.border_check.isChecked())
        self.border_box.setSuffix(f" {unit_of(truth)}")
        self.session.use(
            labels=self.labels_box.layer,
            truth=truth,
            ignore=None if ignore == _NOTHING else ignore,
            border=self.border_box.value() if self.border_check.isChecked() else None,
            anywhere=self.anywhere_check.isChecked(),
        )

    @guarded("Reading the layer list")
    def _layers_changed(self, *_: object) -> None:
        self.session.tell()

    @guarded("Drawing")
    def _theme_changed(self, *_: object) -> None:
        self.plot.use_theme(get_theme(self.viewer.theme))

    # What the session says ----------------------------------------------------

    def show_outcome(self, outcome: EvaluateOutcome | None) -> None:
        """Show an outcome, or that there is none."""
        for part in (self.figures, self.copy_button, self.save_button, self.tabs):
            part.setVisible(outcome is not None)
        live = None if outcome is None else outcome.known
        self.point_label.setVisible(live is not None)
        self.best_button.setVisible(live is not None)
        if outcome is None:
            self.plot.clear()
            return
        self.figures.show_rows(evaluation_report.figure_rows(outcome.found))
        self._show_mistakes(outcome)
        self.show_notes(outcome.notes)
        cut = outcome.request.cut
        point = None if live is None or cut is None else live.scores(cut)
        if live is None or cut is None or point is None:
            self.plot.show_matches(outcome.found["matches"])
        else:
            by_affinity = cut.hierarchy.by_affinity
            self.plot.show_curve(live.curve, point, by_affinity=by_affinity)
            self._tell_point(point)
        if not self._following.isActive():
            self._following.start()

    def _show_mistakes(self, outcome: EvaluateOutcome) -> None:
        """Fill the tables of mistakes."""
        layers = self.session.shown_layers
        for place, kind in enumerate(("split", "merge")):
            table = (self.splits, self.merges)[place]
            layer = layers[1 - place]
            rows = [one for one in outcome.mistakes if one.kind == kind]
            table.show_mistakes(rows, outcome.found["voi"], partial(_colour, layer))
            self.tabs.setTabText(place, f"Worst {kind}s ({len(rows)})")

    @guarded("Showing a threshold")
    def _show_point(self, point: CurvePoint) -> None:
        """Show the scores of the threshold the live neurons are cut at."""
        self.figures.show_point(point)
        self.plot.show_point(point)
        self._tell_point(point)

    def _tell_point(self, point: CurvePoint) -> None:
        outcome = self.session.outcome
        if outcome is None or outcome.known is None:
            return
        best = outcome.known.curve.best()
        self.point_label.setText(
            f"Now at {point.threshold:.3g}: VOI {point.voi:.3f}, {point.objects:,} neurons\n"
            f"Best at {best.threshold:.3g}: VOI {best.voi:.3f}, {best.objects:,} neurons"
        )

    def _follow(self) -> None:
        self.session.follow()
        self.best_button.setEnabled(self.session.is_live)

    # Life cycle ---------------------------------------------------------------

    def on_pause(self) -> None:
        """Stop watching."""
        self._following.stop()
        super().on_pause()

    def on_resume(self) -> None:
        """Watch again."""
        super().on_resume()
        if self.session.outcome is not None:
            self._following.start()

    def on_close(self) -> None:
        """Disconnect from the viewer."""
        super().on_close()
        self.plot.close_jobs()
        for name in ("inserted", "removed", "renamed"):
            getattr(self.viewer.layers.events, name).disconnect(self._layers_changed)
        self.viewer.events.theme.disconnect(self._theme_changed)
        for box in (self.labels_box, self.truth_box):
            box.disconnect_layers()


def _suits(layer: Layer) -> bool:
    """Whether a layer may be taken as a segmentation unasked."""
    named = "scribbles" in layer.name.lower() or looks_like_truth(layer)
    return layer.visible and not named


def _colour(layer: Any, label: int) -> Any:
    """Return the colour of an object in a layer; None if that is gone."""
    return None if layer is None else layer.get_color(label)
