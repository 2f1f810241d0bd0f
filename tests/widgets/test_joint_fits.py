"""Tests of joint fits in the scribble widget: masks that improve while one watches."""

from __future__ import annotations

import numpy as np
import pytest

from .helpers import WAIT, drag, iou, settle


@pytest.fixture
def joined(painted, qtbot):
    """Scribble a disk, watch what is shown, and ask for a joint fit; it has not begun yet."""

    def make():
        viewer, widget, truth = painted()
        seen = []

        def remember(outcome):
            layer = viewer.layers["disks preview"]
            seen.append((outcome, layer.data.copy(), widget.table.item(0, 2).text()))

        widget.session.shown.connect(remember)
        widget.evidence.coupling_box.value = "joint"
        return viewer, widget, truth, seen

    return make


def wait_for_early(qtbot, seen):
    """Wait until the first outcome on the way is shown, of some to come."""
    qtbot.waitUntil(lambda: any(not outcome.is_final for outcome, *_ in seen), timeout=WAIT)


def masks(viewer):
    return viewer.layers["disks masks"].data


def test_the_preview_improves_while_a_joint_fit_runs(joined, qtbot):
    viewer, widget, truth, seen = joined()
    settle(qtbot, widget)
    assert [outcome.is_final for outcome, *_ in seen] == [False] * (len(seen) - 1) + [True]
    assert len(seen) > 2
    for outcome, data, promise in seen[:-1]:
        assert not outcome.result.certificates
        assert np.array_equal(data, outcome.labels)
        assert promise == "fitting ..."
    assert "✓ convex" in widget.table.item(0, 2).text()
    assert iou(viewer.layers["disks preview"].data == 2, truth == 2) > 0.85
    assert seen[-1][0].result.history["loss/joint"]


def test_accept_waits_for_the_end_of_a_joint_fit(joined, qtbot):
    viewer, widget, truth, seen = joined()
    wait_for_early(qtbot, seen)
    widget.accept_button.click()
    assert "disks masks" not in viewer.layers
    settle(qtbot, widget)
    last = seen[-1][0]
    assert last.is_final
    assert last.result.certificates[2].holds
    assert np.array_equal(masks(viewer), last.labels)
    assert iou(masks(viewer) == 2, truth == 2) > 0.85


def test_accept_waits_for_a_fit_that_was_asked_for_again(joined, qtbot):
    viewer, widget, _, seen = joined()
    settle(qtbot, widget)
    seen.clear()
    widget.fit_button.click()  # The strokes are those fitted last.
    wait_for_early(qtbot, seen)
    widget.accept_button.click()
    assert "disks masks" not in viewer.layers
    settle(qtbot, widget)
    assert seen[-1][0].is_final
    assert np.array_equal(masks(viewer), seen[-1][0].labels)


def test_cancelling_a_joint_fit_takes_its_masks_back(joined, qtbot):
    viewer, widget, _, seen = joined()
    before = viewer.layers["disks preview"].data.copy()
    wait_for_early(qtbot, seen)
    widget.cancel_button.click()
    count = len(seen)
    settle(qtbot, widget)
    assert len(seen) == count
    assert seen[-1][0].is_final  # What was there before the fit, certified.
    assert np.array_equal(viewer.layers["disks preview"].data, before)
    assert "Cancelled" in widget.advice.text()
    assert "✓ convex" in widget.table.item(0, 2).text()
    widget.accept_button.click()  # Fits first: the choice is not that fitted last.
    settle(qtbot, widget)
    assert seen[-1][0].request.coupling == "joint"
    assert np.array_equal(masks(viewer), seen[-1][0].labels)


def test_painting_on_drops_what_a_joint_fit_still_shows(joined, qtbot):
    viewer, widget, truth, seen = joined()
    wait_for_early(qtbot, seen)
    widget.next_button.click()
    drag(widget.scribbles_box.layer, (46, 86), (46, 98))
    seen.clear()
    settle(qtbot, widget)
    version = widget.session._version
    assert {outcome.request.version for outcome, *_ in seen} == {version}
    assert iou(viewer.layers["disks preview"].data == 3, truth == 3) > 0.85


def test_the_evidence_alone_cannot_be_fitted_jointly(joined, qtbot):
    _, widget, _, seen = joined()
    assert widget.session.inputs.coupling == "joint"
    widget.shape_box.value = "none"
    assert not widget.evidence.coupling_box.enabled
    assert widget.session.inputs.coupling == "sequential"
    settle(qtbot, widget)
    assert seen[-1][0].is_final
