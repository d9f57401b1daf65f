"""The dialog that asks where to save a file."""

from collections.abc import Callable, Mapping
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget


def ask_where_to_save(
    parent: QWidget,
    title: str,
    *,
    name: str,
    kinds: Mapping[str, str],
    save: Callable[[Path], object],
) -> QFileDialog:
    """Open the dialog, which closes itself.

    Args:
        parent: the widget that the file is of.
        title: the dialog's, translated.
        name: the file's, as it is proposed.
        kinds: the filter, such as ``Tables (*.csv)``, of each suffix without its dot; what the user
            types without a suffix gets that of the chosen filter. The first one is chosen at first.
        save: called with the file that the user has chosen.
    """
    dialog = QFileDialog(parent, title)
    suffixes = {words: suffix for suffix, words in kinds.items()}
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilters(list(suffixes))
    dialog.setDefaultSuffix(next(iter(kinds)))
    dialog.selectFile(name)
    dialog.filterSelected.connect(lambda chosen: dialog.setDefaultSuffix(suffixes[chosen]))
    dialog.fileSelected.connect(lambda path: save(Path(path)))
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
    return dialog
