"""The dock widget *Scribble and solve*."""

from typing import Any

import napari
from napari.utils.notifications import notification_manager, show_warning
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_softseg.errors import InputError
from napari_softseg.widgets import keys
from napari_softseg.widgets.class_table import ClassTable
from napari_softseg.widgets.options_form import LABEL_WIDTH, OptionsForm
from napari_softseg.widgets.solve_job import SolveResult, View
from napari_softseg.widgets.workspace import Dock


class ScribbleDock(Dock):
    """Paint strokes of two or more classes, and see soft labels follow.

    A thin view: what happens is decided in ScribbleSession (layers, classes) and
    SolveLoop (what to solve when).
    """

    solved = Signal(object)
    """A SolveResult that now is in the result layers."""

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:
        super().__init__(napari_viewer)
        self.session = self.workspace.session
        self.loop = self.workspace.loop
        self._shown_error = ""
        self._build()
        self._connect()
        self._on_layers_changed()

    def start(self) -> None:
        """Make a scribbles layer for the chosen image and take the brush, or say why not."""
        self._try(self.session.start)

    def solve_now(self) -> None:
        """Solve the visible plane, changed or not."""
        self.loop.solve_now()

    def stop(self) -> None:
        """Stop the running solve."""
        self.loop.stop()

    @property
    def is_idle(self) -> bool:
        """Whether the results show everything that was asked for."""
        return self.loop.is_idle

    def _build(self) -> None:
        self.image_box = _narrow(QComboBox())
        self.image_box.setToolTip("The image to paint on.")
        self.start_button = QPushButton("Start")
        self.table = ClassTable(self.session.classes)
        self.form = OptionsForm()
        self.auto_box = QCheckBox("solve after every stroke")
        self.auto_box.setChecked(True)
        self.auto_box.setToolTip("Solve as soon as strokes, options or the visible plane change.")
        self.solve_button = QPushButton("Solve")
        self.solve_button.setToolTip("Solve the visible plane now. Key: S")
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("Stop, and keep what there is so far. Key: D")
        self.stop_button.setEnabled(False)
        self.view_box = _narrow(QComboBox())
        for view in View:
            self.view_box.addItem(view.value, view)
        self.view_box.setToolTip("What the results show. Key T hides and shows them.")
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.key_help = QLabel("Keys: Q / W class · S solve · D stop · T hide or show · more: hover here")
        self.key_help.setWordWrap(True)
        self.key_help.setToolTip(_key_table())

        image_row = QHBoxLayout()
        image_row.addWidget(self.image_box, 1)
        image_row.addWidget(self.start_button)
        solve_row = QHBoxLayout()
        solve_row.addWidget(self.solve_button, 1)
        solve_row.addWidget(self.stop_button, 1)
        view_row = QFormLayout()
        view_label = QLabel("view")
        view_label.setMinimumWidth(LABEL_WIDTH)
        view_row.addRow(view_label, self.view_box)
        layout = QVBoxLayout(self)
        layout.setSpacing(6)
        for part in (image_row, self.table, self.form, view_row, self.auto_box, solve_row, self.status):
            layout.addWidget(part) if isinstance(part, QWidget) else layout.addLayout(part)
        layout.addStretch(1)
        layout.addWidget(self.key_help)

    def _connect(self) -> None:
        session, loop = self.session, self.loop
        self.image_box.activated.connect(self._on_image_chosen)
        self.start_button.clicked.connect(lambda: self.start())
        self.table.chosen.connect(session.select_class)
        self.table.add_asked.connect(self._on_add_class)
        self.table.remove_asked.connect(lambda value: self._try(session.remove_class, value))
        self.form.changed.connect(self._on_options_changed)
        self.auto_box.toggled.connect(lambda on: setattr(loop, "auto", on))
        self.solve_button.clicked.connect(lambda: self.solve_now())
        self.stop_button.clicked.connect(lambda: self.stop())
        self.view_box.activated.connect(self._on_view_chosen)
        self.follow(session.layers_changed, self._on_layers_changed)
        self.follow(session.class_selected, self._on_class_selected)
        self.follow(session.key_pressed, self._on_key)
        self.follow(session.classes.changed, self._on_counts)
        self.follow(loop.status_changed, self._on_status)
        self.follow(loop.counts_changed, self._on_counts)
        self.follow(loop.busy_changed, self._on_busy)
        self.follow(loop.failed, self._show_error)
        self.follow(loop.devices_found, self.form.set_devices)
        self.follow(loop.solved, self._on_solved)

    def _try(self, action: Any, *args: Any) -> None:
        try:
            action(*args)
        except InputError as error:
            self._show_error(error)
            self._on_status(str(error))

    def _on_layers_changed(self) -> None:
        session = self.session
        with QSignalBlocker(self.image_box):
            self.image_box.clear()
            for image in session.images:
                self.image_box.addItem(image.name, image)
                if image is session.image:
                    self.image_box.setCurrentIndex(self.image_box.count() - 1)
            self.image_box.setEnabled(bool(session.images))
        started = session.scribbles is not None
        self.start_button.setText("Paint" if started else "Start")
        self.start_button.setToolTip(
            "Return to the scribbles, brush in hand."
            if started
            else "Make a scribbles layer over the image and take the brush."
        )
        self.start_button.setEnabled(session.image is not None)
        for part in (self.table, self.solve_button):
            part.setEnabled(started)
        self._on_class_selected()

    def _on_image_chosen(self, row: int) -> None:
        self.session.choose(self.image_box.itemData(row))

    def _on_view_chosen(self, row: int) -> None:
        self.loop.view = self.view_box.itemData(row)

    def _on_options_changed(self) -> None:
        self._try(lambda: setattr(self.loop, "options", self.form.options()))

    def _on_add_class(self) -> None:
        self._try(lambda: self.session.select_class(self.session.classes.add().value))

    def _on_class_selected(self) -> None:
        self.table.show_chosen(self.session.selected_class)

    def _on_counts(self) -> None:
        self.table.show_counts(self.loop.counts)
        self._on_class_selected()

    def _on_status(self, text: str) -> None:
        self.status.setText(text)

    def _on_busy(self, busy: bool) -> None:
        self.stop_button.setEnabled(busy)

    def _on_key(self, action: str) -> None:
        {keys.SOLVE: self.solve_now, keys.STOP: self.stop, keys.TOGGLE: self.loop.toggle_result}[action]()

    def _on_solved(self, result: SolveResult) -> None:
        self._shown_error = ""
        self.solved.emit(result)

    def _show_error(self, error: Exception) -> None:
        """Notify once of each mishap; with auto-solve the same one comes after every stroke."""
        if not isinstance(error, InputError):
            notification_manager.receive_error(type(error), error, error.__traceback__)
        elif str(error) != self._shown_error:
            self._shown_error = str(error)
            show_warning(str(error))


def _narrow(box: QComboBox) -> QComboBox:
    """Let a box be narrower than its longest entry."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    return box


def _key_table() -> str:
    rows = "".join(
        f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{what}</td></tr>" for key, what in keys.KEY_HELP
    )
    return f"<p>Keys on the canvas while the scribbles layer is chosen:</p><table>{rows}</table>"
