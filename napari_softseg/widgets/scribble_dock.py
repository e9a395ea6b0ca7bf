"""The dock widget *Scribble and solve*."""

from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_softseg.errors import InputError
from napari_softseg.widgets import keys
from napari_softseg.widgets.channel_row import ChannelRow
from napari_softseg.widgets.class_files import read_classes, write_classes
from napari_softseg.widgets.class_table import ClassTable
from napari_softseg.widgets.command_line import Call
from napari_softseg.widgets.compare_view import CompareWindow
from napari_softseg.widgets.dock_parts import Mishaps, Page, button, row, words
from napari_softseg.widgets.key_map import KeyMap
from napari_softseg.widgets.network_row import NetworkRow
from napari_softseg.widgets.open_dock import PROJECT, TRAIN, open_dock
from napari_softseg.widgets.option_widgets import narrow
from napari_softseg.widgets.options_form import OptionsForm
from napari_softseg.widgets.planes_row import PlanesRow
from napari_softseg.widgets.preferences import preferences, preferences_page
from napari_softseg.widgets.project_layers import turn_to
from napari_softseg.widgets.solve_job import SolveResult, View
from napari_softseg.widgets.worker_threads import set_threads
from napari_softseg.widgets.workspace import Dock

COVERING = ("opaque", "translucent", "translucent_no_depth")
"""How images are blended that hide what is below; others are channels, seen together."""


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
        self.comparison: CompareWindow | None = None
        self._mishaps = Mishaps()
        self._build()
        self._connect()
        self._on_layers_changed()
        if self.loop.devices:  # the workspace is older than this dock
            self.form.set_devices(self.loop.devices)
        self._on_options_brought()
        self._on_network()
        self._on_preferences()

    def start(self) -> None:
        """Make a scribbles layer for the chosen image and take the brush, or say why not."""
        self._try(self.session.start)

    def solve_now(self) -> None:
        """Solve the visible plane, changed or not."""
        self.loop.solve_now()

    def stop(self) -> None:
        """Stop the running solve."""
        self.loop.stop()

    def compare(self) -> None:
        """Show several relaxations side by side, in a window of their own."""
        if self.comparison is None:
            self.comparison = CompareWindow(self.loop, self)
            self.comparison.chosen.connect(self._on_relaxation_chosen)
            self.comparison.failed.connect(self._show_error)
            self.comparison.destroyed.connect(self._on_comparison_gone)
            self.comparison.show()
        else:
            self.comparison.solve()
        self.comparison.raise_()

    @property
    def is_idle(self) -> bool:
        """Whether the results show everything that was asked for."""
        return self.loop.is_idle

    def _build(self) -> None:
        self.project_button = button(
            "Project…", "Open the dock of the project: its images, autosave, export."
        )
        self.train_button = button("Train…", "Open the dock that trains a network on the strokes.")
        self.image_box = QComboBox()
        narrow(self.image_box)
        self.image_box.setToolTip("The image to paint on.")
        self.start_button = button("Start", "")
        self.channels = ChannelRow(OptionsForm.LABEL_WIDTH)
        self.table = ClassTable(self.session.classes)
        self.network = NetworkRow(self.workspace.model)
        self.form = OptionsForm()
        self.auto_box = QCheckBox("solve after every stroke")
        self.auto_box.setChecked(True)
        self.auto_box.setToolTip("Solve as soon as strokes, options or the visible plane change.")
        self.spot_button = button("Next spot", "Centre the view on the next place that is uncertain. Key: N")
        self.solve_button = button("Solve", "Solve the visible plane now. Key: S")
        self.stop_button = button("Stop", "Stop, and keep what there is so far. Key: D")
        self.stop_button.setEnabled(False)
        self.planes = PlanesRow()
        self.compare_button = button(
            "Compare…", "The six relaxations side by side, each with its energy and time."
        )
        self.copy_button = button(
            "Copy command line",
            "Copy the napari-softseg call that does what Solve does now. The strokes it reads, and the image "
            "if it is in no file, are written into a new temporary folder.",
        )
        self.view_box = QComboBox()
        narrow(self.view_box)
        for view in View:
            self.view_box.addItem(view.value, view)
        self.view_box.setToolTip("What the results show. Key T hides and shows them.")
        self.status = words("What to do next, what goes on, how it went.", selectable=True)
        self.key_map = KeyMap()

        image_row = QHBoxLayout()
        image_row.addWidget(self.image_box, 1)
        image_row.addWidget(self.start_button)
        tool_row = QHBoxLayout()
        tool_row.addWidget(self.compare_button)
        tool_row.addWidget(self.copy_button, 1)
        view_row = QFormLayout()
        view_label = QLabel("view")
        view_label.setMinimumWidth(OptionsForm.LABEL_WIDTH)
        view_row.addRow(view_label, self.view_box)
        page = Page()
        page.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        for part in (
            row(self.project_button, self.train_button),
            image_row,
            self.channels,
            self.table,
            self.network,
            self.form,
            view_row,
            self.auto_box,
            row(self.solve_button, self.stop_button, self.spot_button),
            self.planes,
            tool_row,
            self.key_map,
        ):
            page.parts.addWidget(part) if isinstance(part, QWidget) else page.parts.addLayout(part)
        layout = QVBoxLayout(self)
        layout.setSpacing(6)
        layout.addWidget(page)
        layout.addWidget(self.status)  # beside the page: what to do next is always seen
        layout.addStretch(1)

    def _connect(self) -> None:
        session, loop, planes = self.session, self.loop, self.workspace.all_planes
        spots = self.workspace.spots
        self.project_button.clicked.connect(lambda: self._open(PROJECT))
        self.train_button.clicked.connect(lambda: self._open(TRAIN))
        self.image_box.activated.connect(self._on_image_chosen)
        self.start_button.clicked.connect(lambda: self.start())
        self.table.chosen.connect(session.select_class)
        self.table.add_asked.connect(self._on_add_class)
        self.table.remove_asked.connect(self._on_remove_class)
        self.table.read_asked.connect(lambda path: self._try(self.read_classes, path))
        self.table.write_asked.connect(lambda path: self._try(write_classes, path, session.classes))
        self.channels.axis_chosen.connect(lambda axis: self._try(session.set_channel_axis, axis))
        self.channels.channels_chosen.connect(lambda seen: self._try(session.see_channels, seen))
        self.planes.start_asked.connect(lambda reach: self._try(planes.start, reach))
        self.planes.stop_asked.connect(planes.stop)
        self.spot_button.clicked.connect(lambda: spots.next())
        self.compare_button.clicked.connect(lambda: self.compare())
        self.copy_button.clicked.connect(lambda: self._try(self.workspace.command_line.write))
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
        self.follow(loop.options_changed, self._on_options_brought)
        self.follow(loop.devices_found, self._on_devices)
        self.follow(loop.solved, self._on_solved)
        self.follow(planes.progress, self.planes.show_progress)
        self.follow(planes.running_changed, self.planes.show_running)
        self.follow(planes.status_changed, self._on_status)
        self.follow(planes.failed, self._show_error)
        self.follow(self.workspace.command_line.ready, self._on_call)
        self.follow(self.workspace.command_line.failed, self._show_error)
        self.follow(spots.status_changed, self._on_status)
        self.follow(spots.failed, self._show_error)
        self.follow(self.workspace.model.changed, self._on_network)
        page = preferences_page()
        if page is not None:
            self.follow(page.events, self._on_preferences)

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
        for part in (
            self.table,
            self.solve_button,
            self.spot_button,
            self.planes,
            self.compare_button,
            self.copy_button,
        ):
            part.setEnabled(started)
        self.channels.show_image(session.image)
        self.planes.setVisible(self.workspace.all_planes.count > 1)
        self._on_class_selected()

    def _on_image_chosen(self, row: int) -> None:
        """Show the image, and no longer the one before if that would cover it."""
        left = self.session.image
        covers = left is not None and left.blending in COVERING
        turn_to(self.session, self.image_box.itemData(row), left if covers else None)

    def _on_view_chosen(self, row: int) -> None:
        self.loop.view = self.view_box.itemData(row)

    def _on_options_changed(self) -> None:
        self._try(lambda: setattr(self.loop, "options", self.form.options()))

    def _on_options_brought(self) -> None:
        """Show options that did not come from here: a project's. What is used is not what the boxes round it to."""
        if self.form.options() != self.loop.options:
            with QSignalBlocker(self.form):
                self.form.set_options(self.loop.options)

    def _on_add_class(self) -> None:
        self._try(lambda: self.session.select_class(self.session.classes.add().value))

    def _on_remove_class(self, value: int) -> None:
        """Remove a class; of an image in a project that has strokes of it, asked first."""
        if self.workspace.project.current is not None and self.loop.counts.get(value):
            name = self.session.classes[value].name
            question = f"Remove {name!r} and its strokes? Ctrl+Z on the canvas brings both back."
            answer = QMessageBox.question(self, "Remove class", question)
            if answer != QMessageBox.StandardButton.Yes:
                return
        self._try(self.session.remove_class, value)

    def read_classes(self, path: Path) -> None:
        """Take over the classes of a file; of the others those with strokes stay.

        Raises
        ------
        InputError
            If the file holds none.
        """
        classes = self.session.classes
        # a project may have strokes of any class in its other images
        keep = classes.values if self.workspace.project.project is not None else tuple(self.loop.counts)
        classes.take(read_classes(path), keep)

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
        actions = {keys.SOLVE: self.solve_now, keys.STOP: self.stop, keys.TOGGLE: self.loop.toggle_result}
        if action in actions:
            actions[action]()

    def _on_solved(self, result: SolveResult) -> None:
        self._mishaps.forget()
        self.solved.emit(result)

    def _open(self, name: str) -> None:
        self._try(open_dock, self.workspace.viewer, name)

    def _on_call(self, call: Call) -> None:
        QApplication.clipboard().setText(call.text)
        self._on_status(f"Copied. What the command line reads is in {call.folder}.")

    def _on_network(self) -> None:
        self.network.refresh()
        self.form.by_network = self.workspace.model.path is not None and not self.workspace.model.mismatch

    def _on_relaxation_chosen(self, relaxation: str) -> None:
        self.form["relaxation"].value = relaxation

    def _on_comparison_gone(self) -> None:
        self.comparison = None

    def _on_devices(self, devices: list[str]) -> None:
        self.form.set_devices(devices)
        self._use_device(preferences().device)

    def _on_preferences(self, event: Any = None) -> None:
        """Use what is set; of a change, only what has changed, so that the dock's own choices stay."""
        now, changed = preferences(), "" if event is None else event.type
        if changed in ("", "solve_after_every_stroke"):
            self.auto_box.setChecked(now.solve_after_every_stroke)
        if changed in ("", "device"):
            self._use_device(now.device)
        set_threads(now.threads)

    def _use_device(self, wanted: str) -> None:
        """Choose a device once it is known which there are."""
        if not self.loop.devices:
            return
        found = next((device for device in self.loop.devices if device.startswith(wanted)), None)
        if found is None:
            self._show_error(
                InputError(f"There is no device {wanted!r} here, which Preferences ask for: using auto.")
            )
        self.form["device"].value = found or "auto"

    def _show_error(self, error: Exception) -> None:
        self._mishaps.tell(error)
