"""The plot of the evaluation widget: scores over thresholds, or over IoU.

Matplotlib draws the curves in a thread, as that may take a tenth of a second; the point that
follows the slider is drawn over them by Qt.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from napari_implicitseg.widgets._base import JobRunner, show_problem
from napari_implicitseg.widgets._evaluate_drawing import Drawing, Look, draw_curve, draw_matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.utils.theme import Theme
    from qtpy.QtGui import QMouseEvent, QPaintEvent, QResizeEvent

    from napari_implicitseg.hierarchy.components import CurvePoint, ThresholdCurve
    from napari_implicitseg.matching import Matches

__all__ = ["EvaluatePlot"]

_HEIGHT = 190
_NARROWEST = 120
_MARK = 5.0


class EvaluatePlot(QWidget):
    """Curves with a point that moves; hidden until there is something to show.

    Parameters
    ----------
    theme : Theme
        Of the viewer.
    """

    picked = Signal(float)
    """Threshold that was clicked or dragged to."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.jobs = JobRunner()
        self.jobs.done.connect(self._drawn)
        self.jobs.failed.connect(partial(show_problem, doing="Drawing"))
        self._theme = theme
        self._of: object = None
        self._draw: Callable[[Look], Drawing] | None = None
        self._point: CurvePoint | None = None
        self._image: QImage | None = None
        self.drawing: Drawing | None = None
        self.setFixedHeight(_HEIGHT)
        self.hide()

    @property
    def is_working(self) -> bool:
        """Whether curves are being drawn."""
        return self.jobs.is_busy or self.jobs.is_running

    # Showing ------------------------------------------------------------------

    def show_curve(self, curve: ThresholdCurve, point: CurvePoint, *, by_affinity: bool) -> None:
        """Show scores over thresholds, the best and the present one.

        Parameters
        ----------
        curve : ThresholdCurve
        point : CurvePoint
            Of the present threshold.
        by_affinity : bool
            Whether thresholds are affinities, 0 to 1.
        """
        self.show_point(point)
        self._show(curve, lambda look: draw_curve(curve, look, by_affinity=by_affinity))

    def show_point(self, point: CurvePoint) -> None:
        """Move the mark of the present threshold; the curves are not drawn again."""
        self._point = point
        self.update()

    def show_matches(self, matches: Mapping[float, Matches]) -> None:
        """Show how many objects are matched at each IoU."""
        self._point = None
        self._show(matches, lambda look: draw_matches(matches, look))

    def clear(self) -> None:
        """Show nothing."""
        self._of = self._draw = self._point = self._image = self.drawing = None
        self.hide()

    def use_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        self._ask()

    def close_jobs(self) -> None:
        """Draw no more."""
        self.jobs.close()

    # Drawing ------------------------------------------------------------------

    def _show(self, of: object, draw: Callable[[Look], Drawing]) -> None:
        """Show curves of something, unless they are shown."""
        if of is not self._of:
            # The mark would be at a wrong place of the old ones.
            self._of, self._draw, self.drawing = of, draw, None
        self.show()
        self._ask()

    def _ask(self) -> None:
        """Have the curves drawn as large as the plot is now, if they are not."""
        draw, look = self._draw, self._look()
        if draw is None or (self.drawing is not None and self.drawing.look == look):
            return
        self.jobs.submit(lambda report: draw(look))

    def _look(self) -> Look:
        theme = self._theme
        colours = (theme.text, theme.background, theme.secondary)
        # Without what a colour has of transparency.
        text, ground, frame = (c.as_hex(format="long")[:7] for c in colours)
        return Look(
            size=(max(self.width(), _NARROWEST), _HEIGHT),
            ratio=float(self.devicePixelRatioF()),
            text=text,
            ground=ground,
            frame=frame,
        )

    def _drawn(self, drawing: Drawing) -> None:
        """Take over what the thread has drawn."""
        if self._draw is None:
            return
        high, wide = drawing.pixels.shape[:2]
        image = QImage(
            drawing.pixels.tobytes(), wide, high, 4 * wide, QImage.Format.Format_RGBA8888
        ).copy()  # Qt does not keep the bytes alive.
        image.setDevicePixelRatio(drawing.look.ratio)
        self.drawing, self._image = drawing, image
        self.update()
        self._ask()  # It may have been resized meanwhile.

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the curves, and the present threshold over them."""
        if self._image is None:
            return
        painter = QPainter(self)
        painter.drawImage(0, 0, self._image)
        if self._point is not None and self.drawing is not None:
            self._draw_mark(painter, self.drawing, self._point)
        painter.end()

    def _draw_mark(self, painter: QPainter, drawing: Drawing, point: CurvePoint) -> None:
        """Draw a dotted line and a diamond at a threshold."""
        x, y = drawing.x_of(point.threshold), drawing.y_of(point.voi)
        _, top, _, bottom = drawing.box
        colour = QColor(drawing.look.text)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(colour, 1, Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(x, top), QPointF(x, bottom))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        steps = ((0, -_MARK), (_MARK, 0), (0, _MARK), (-_MARK, 0))
        painter.drawPolygon(QPolygonF([QPointF(x + dx, y + dy) for dx, dy in steps]))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Draw as large as the plot is now."""
        super().resizeEvent(event)
        self._ask()

    # The mouse ----------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Take a click for a threshold."""
        self._pick(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Take a drag for thresholds."""
        self._pick(event)

    def _pick(self, event: Any) -> None:
        drawing = self.drawing
        if event is None or drawing is None or self._point is None:
            return
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.picked.emit(drawing.value_at(float(event.position().x())))
