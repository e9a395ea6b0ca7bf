"""The row of the dock that says which trained network makes the first guess."""

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_softseg.widgets.model_session import ModelSession


class NetworkRow(QWidget):
    """A view of a ModelSession; hidden while strokes alone are solved, unless there is a reason to tell."""

    def __init__(self, model: ModelSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.label.setToolTip("A trained network makes the first guess in place of the classifier.")
        self.button = QPushButton("Drop")
        self.button.setToolTip("Do without the network: a classifier trained on the strokes guesses again.")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.label, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(lambda: model.use(None))
        self.refresh()

    def refresh(self) -> None:
        """Show the network of now."""
        model = self._model
        guess = f"network {model.name}" if model.path is not None else "strokes alone"
        if model.unknown:
            guess += f"; {', '.join(map(repr, model.unknown))}, new to it, by strokes"
        joint = ", not used: " if model.mismatch else ". " if model.error else ""
        self.label.setText(f"first guess: {guess}{joint}{model.error}")
        self.button.setText("Drop" if model.path is not None else "OK")
        self.setVisible(model.path is not None or bool(model.error))
