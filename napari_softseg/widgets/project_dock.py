"""The dock widget *Project*."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import (
    QFileDialog,
    QLabel,
    QMenu,
    QMessageBox,
    QSizePolicy,
    QVBoxLayout,
)

from napari_softseg.errors import InputError
from napari_softseg.project.label_export import Kind
from napari_softseg.project.opening import project_folder
from napari_softseg.widgets.dock_parts import Mishaps, button, row, words
from napari_softseg.widgets.image_list import ImageList
from napari_softseg.widgets.workspace import Dock

IMAGE_FILES = "Images (*.png *.jpg *.jpeg *.tif *.tiff *.bmp *.webp *.npy);;All files (*)"
STROKE_FILES = "Strokes and labels (*.png *.tif *.tiff *.npy *.h5 *.ilp);;All files (*)"

EXPORTS: dict[str, tuple[str, tuple[Kind, ...]]] = {
    "Labels": ("The most likely class of every pixel: NAME_labels.png", ("labels",)),
    "Soft labels": ("The probability of every class: NAME_soft.tif", ("soft",)),
    "Masks": ("One black and white image per class: NAME_mask_….png", ("masks",)),
    "All of these": ("Labels, soft labels and masks.", ("labels", "soft", "masks")),
}
"""What can be exported, with an explanation."""


class ProjectDock(Dock):
    """The images of a project, one click from each other, and what can be done with all of them.

    A thin view: what happens is decided in ProjectSession.
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:
        super().__init__(napari_viewer)
        self.project = self.workspace.project
        self._mishaps = Mishaps()
        self._build()
        self._connect()
        self._on_opened()

    def _build(self) -> None:
        self.new_button = button("New…", "Make a project folder, with the classes that are painted now.")
        self.open_button = button("Open…", "Open a project folder. It can be dropped on this dock as well.")
        self.save_as_button = button("Save as…", "Copy the project to another folder, and go on there.")
        self.path_label = _ElidedLabel()
        self.add_open_button = button("Add open image", "Take the image that is painted on into the project.")
        self.add_files_button = button("Add files…", "Copy image files into the project.")
        self.list = ImageList()
        self.previous_button = button("◀ Previous", "Paint on the image above in the list. Key: Page Up")
        self.next_button = button("Next ▶", "Paint on the image below in the list. Key: Page Down")
        self.remove_button = button("Remove", "Take the chosen image out of the project; its file stays.")
        self.undo_button = button("", "")
        self.import_button = button(
            "Import strokes…",
            "Take strokes or labels of other programs: for the images of the same name, or for the one that "
            "is painted on.",
        )
        self.export_button = button("Export…", "Write the labels of all images that have soft labels.")
        menu = QMenu(self.export_button)
        menu.setToolTipsVisible(True)
        for text, (tip, kinds) in EXPORTS.items():
            action = menu.addAction(text)
            action.setToolTip(tip)
            action.triggered.connect(partial(self._on_export, kinds))
        self.export_button.setMenu(menu)
        self.status = words("What was saved when, or why nothing can be.", selectable=True)
        layout = QVBoxLayout(self)
        layout.setSpacing(6)
        layout.addLayout(row(self.new_button, self.open_button, self.save_as_button))
        layout.addWidget(self.path_label)
        layout.addLayout(row(self.add_open_button, self.add_files_button))
        layout.addWidget(self.list, 1)
        layout.addLayout(row(self.previous_button, self.next_button, self.remove_button))
        layout.addWidget(self.undo_button)
        layout.addLayout(row(self.import_button, self.export_button))
        layout.addWidget(self.status)
        self.setAcceptDrops(True)

    def _connect(self) -> None:
        project = self.project
        self.new_button.clicked.connect(lambda: self._on_new())
        self.open_button.clicked.connect(lambda: self._on_open())
        self.save_as_button.clicked.connect(lambda: self._on_save_as())
        self.add_open_button.clicked.connect(lambda: self._try(project.add_open_image))
        self.add_files_button.clicked.connect(lambda: self._on_add_files())
        self.previous_button.clicked.connect(lambda: self._try(project.step, -1))
        self.next_button.clicked.connect(lambda: self._try(project.step, +1))
        self.remove_button.clicked.connect(lambda: self._on_remove())
        self.import_button.clicked.connect(lambda: self._on_import())
        self.undo_button.clicked.connect(lambda: self._try(project.undo))
        self.list.asked.connect(lambda name: self._try(project.show, name))
        self.list.sorted_anew.connect(self._on_sorted)
        self.list.selectionModel().currentRowChanged.connect(lambda *_: self._enable())
        self.follow(project.opened, self._on_opened)
        self.follow(project.images_changed, self._on_images_changed)
        self.follow(project.current_changed, self._on_current_changed)
        self.follow(project.saved, self._on_saved)
        self.follow(project.failed, self._show_error)
        self.follow(project.status_changed, lambda text: self.status.setText(text))
        self.follow(project.trouble, self._on_trouble)
        self.follow(project.removal_asked, self._on_removal_asked)
        self.follow(self.workspace.session.layers_changed, self._enable)

    # ---- what a person does

    def dragEnterEvent(self, event: Any) -> None:
        """Take what is dragged here if it is files."""
        if _files(event):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Open a project, without napari asking who reads it; or add image files to the one that is open."""
        paths = _files(event)
        event.acceptProposedAction()
        if len(paths) == 1 and (Path(paths[0]).is_dir() or project_folder(paths[0]) is not None):
            self._try(self.project.open, paths[0])
        elif paths:
            self._try(self.project.add_files, paths)

    def _on_new(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "New project: its folder", "project", "Folder (*)")
        if path:
            self._try(self.project.create, path)

    def _on_open(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a project folder")
        if path:
            self._try(self.project.open, path)

    def _on_save_as(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Copy the project to a new folder", "", "Folder (*)")
        if path:
            self._try(self.project.save_as, path)

    def _on_add_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add images to the project", "", IMAGE_FILES)
        if paths:
            self._try(self.project.add_files, paths)

    def _on_import(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Import strokes", "", STROKE_FILES)
        if paths:
            self._try(self.project.import_strokes, paths)

    def _on_export(self, kinds: tuple[Kind, ...], _checked: bool = False) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export to a folder")
        if folder:
            self._try(self.project.export, folder, kinds)

    def _on_remove(self) -> None:
        name = self.list.chosen
        if name is None:
            return
        status = self.project.statuses.get(name)
        strokes = " and its strokes" if status is not None and status.labelled else ""
        self._ask(
            f"Take {name!r}{strokes} out of the project?",
            "Its files are kept in the folder “removed”, and Undo brings it back.",
            {"Remove": lambda: self._try(self.project.remove, name)},
        )

    # ---- what the project asks

    def _on_trouble(self, name: str, problem: str) -> None:
        choices: dict[str, Callable[[], None]] = {"Locate…": lambda: self._locate(name)}
        if "gone" not in problem:
            choices["Use it as it is"] = lambda: self._try(self.project.keep, name)
        choices["Remove"] = lambda: self._try(self.project.remove, name)
        self._ask(f"{name!r} cannot be shown as it was added.", problem, choices)

    def _locate(self, name: str) -> None:
        path, _ = QFileDialog.getOpenFileName(self, f"Where is {name!r} now?", "", IMAGE_FILES)
        if path:
            self._try(self.project.relocate, name, path)

    def _on_removal_asked(self, value: int, name: str, images: list[str]) -> None:
        listed = ", ".join(images[:5]) + (f" and {len(images) - 5} more" if len(images) > 5 else "")
        self._ask(
            f"Erase the strokes of {name!r} in {_count(len(images), 'other image')}, too?",
            f"They are in {listed}. Undo brings them back.",
            {"Erase": lambda: self._try(self.project.confirm_class_removal, value)},
            otherwise=lambda: self._try(self.project.bring_class_back, value),
            cancel="Keep the class",
        )

    def _ask(
        self,
        question: str,
        details: str,
        choices: dict[str, Callable[[], None]],
        *,
        otherwise: Callable[[], None] = lambda: None,
        cancel: str = "Cancel",
    ) -> None:
        """Ask without stopping the event loop: the viewer, and what is being saved, go on."""
        box = QMessageBox(QMessageBox.Icon.Question, "Project", question, parent=self)
        box.setInformativeText(details)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        actions = {text: box.addButton(text, QMessageBox.ButtonRole.AcceptRole) for text in choices}
        box.setDefaultButton(box.addButton(cancel, QMessageBox.ButtonRole.RejectRole))

        def answered(_: int) -> None:
            chosen = next((text for text, one in actions.items() if one is box.clickedButton()), None)
            choices.get(chosen or "", otherwise)()

        box.finished.connect(answered)
        box.open()

    # ---- what the project tells

    def _on_opened(self) -> None:
        project = self.project.project
        self._mishaps.forget()
        self.path_label.show_text("" if project is None else str(project.path))
        self.list.hint = "Add the image that is open, or files. Images can be dropped here as well."
        if project is None:
            self.list.hint = "Press New… or Open…, or drop a project here."
            self.status.setText("Make a project or open one: then every stroke is saved as you paint.")
        elif project.read_only:
            self.list.hint = "This project holds no image."
            self.status.setText(f"read-only: {project.read_only}")
        else:
            self.status.setText("Every stroke is saved as you paint.")
        self._on_images_changed()
        self._on_current_changed()

    def _on_images_changed(self) -> None:
        project = self.project
        names = [] if project.project is None else project.project.names
        marked = self.list.chosen
        self.list.images.show(names, project.statuses, project.classes, project.current)
        self.list.mark(marked or project.current)
        self._on_sorted()
        self._enable()

    def _on_current_changed(self) -> None:
        project = self.project
        names = [] if project.project is None else project.project.names
        self.list.images.show(names, project.statuses, project.classes, project.current)
        self.list.mark(project.current)
        self._enable()

    def _on_sorted(self) -> None:
        self.project.order = self.list.order

    def _on_saved(self, _key: str) -> None:
        self._mishaps.forget()
        self.status.setText(f"saved {datetime.now().astimezone():%H:%M:%S}")

    def _enable(self) -> None:
        project = self.project.project
        writable = project is not None and not project.read_only
        several = project is not None and len(project.names) > 1
        self.save_as_button.setEnabled(project is not None)
        self.add_open_button.setEnabled(
            writable and self.workspace.session.image is not None and self.project.current is None
        )
        for part in (self.add_files_button, self.import_button):
            part.setEnabled(writable)
        self.export_button.setEnabled(project is not None)
        for part in (self.previous_button, self.next_button):
            part.setEnabled(several)
        self.remove_button.setEnabled(writable and self.list.chosen is not None)
        undoable = self.project.undoable
        self.undo_button.setVisible(bool(undoable))
        if undoable:
            self.undo_button.setText(f"Undo: {undoable[-1][0]}")
            self.undo_button.setToolTip("Bring back what was removed last.")

    def _try(self, action: Callable[..., Any], *args: Any) -> None:
        try:
            action(*args)
        except InputError as error:
            self._show_error(error)

    def _show_error(self, error: Exception) -> None:
        self.status.setText(str(error))
        self._mishaps.tell(error)


def _files(event: Any) -> list[str]:
    return [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]


class _ElidedLabel(QLabel):
    """A path in one line, its middle left out where it does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self._full = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def show_text(self, text: str) -> None:
        """Show this text; all of it is in the tooltip."""
        self._full = text
        self.setToolTip(text or "The folder of the open project.")
        self.setVisible(bool(text))
        self._elide()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        metrics = QFontMetrics(self.font())
        self.setText(metrics.elidedText(self._full, Qt.TextElideMode.ElideMiddle, self.width()))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number > 1)}"
