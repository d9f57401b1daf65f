"""The app's exceptions: errors that a user can mend, and defects of the app.

A `UserFacingError` is shown to the user as it is. Any other exception that escapes is a defect of
the app and is logged with a traceback. The end of a child process is not an exception but a value
(see `app.training.supervisor`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class CoTrainError(Exception):
    """Root of the errors that this app raises on purpose."""


class UserFacingError(CoTrainError):
    """Something that the user can mend.

    message: what is wrong, as a sentence.
    field: the setting, spec field (dotted, ``training_params.seed``) or file that is wrong, or "".
    remedy: what the user can do, as a sentence, or "".
    """

    def __init__(self, message: str, *, field: str = "", remedy: str = "") -> None:
        self.message = message
        self.field = field
        self.remedy = remedy
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """Field, message and remedy on one line, for a log or a terminal."""
        head = f"{self.field}: {self.message}" if self.field else self.message
        return f"{head} {self.remedy}".rstrip()


class SpecError(UserFacingError):
    """A swarm's spec is invalid.

    all: an error for each wrong field, the one shown included; () if only one is known.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        remedy: str = "",
        all: "Sequence[SpecError]" = (),
    ) -> None:
        super().__init__(message, field=field, remedy=remedy)
        self.all = tuple(all)


class InviteError(SpecError):
    """An invite can't be read or written, or the spec in it is invalid."""


class OrganiserError(UserFacingError):
    """The organiser's key can't be used, or an invite's organiser isn't the one that we know."""


class RosterError(UserFacingError):
    """A closed swarm's list of members can't be changed so, or can't be written."""


class LabError(UserFacingError):
    """A command to the machines of a lab can't be given, or a machine refuses it."""


class SettingsError(UserFacingError):
    """A setting in the file, the environment or the command line is invalid."""


class DamagedSettingsError(SettingsError):
    """The settings file isn't valid JSON of ours; it was renamed so that the next start works."""


class PortTakenError(SettingsError):
    """Another process listens on the port of the settings, perhaps not for long."""


class FolderError(UserFacingError):
    """One of the app's folders can't be created or written to."""


class DataError(UserFacingError):
    """The training data can't be fetched or read."""


class DeviceError(UserFacingError):
    """The chosen device can't be used."""


class AutostartError(UserFacingError):
    """Start at login can't be switched on or off."""


class JoinError(UserFacingError):
    """The swarm can't be joined."""


class BusyError(UserFacingError):
    """Another instance uses this data folder, or the action isn't possible in the current state."""


class ConsentError(UserFacingError):
    """The volunteer, or the volunteer's settings, refused a task."""


class ConnectError(UserFacingError):
    """Another peer can't be reached."""


class TrainerError(UserFacingError):
    """The trainer process failed to carry out a command."""


class GenerationError(UserFacingError):
    """The model of a swarm can't write a text on this machine."""


class MachineKeyError(UserFacingError):
    """The private key with which this machine signs can't be read."""


class DatabaseError(UserFacingError):
    """One of the app's own SQLite files can't be used."""


class ExportError(UserFacingError):
    """An export of contributions or of a model can't be written or sent, or its signatures are
    wrong."""


class UpdateError(UserFacingError):
    """The check for a newer version of this app failed."""


class DiagnosticsError(UserFacingError):
    """The archive of diagnostics can't be written."""


class GpuRuntimeError(UserFacingError):
    """PyTorch for the GPU can't be fetched, or couldn't run on this machine."""


class LibraryError(CoTrainError):
    """A library of the operating system failed (D-Bus, a driver, a keyring); the cause is its
    own error."""


class ProtocolError(CoTrainError):
    """App or trainer received a line that is no known message: a defect, or mixed versions."""
