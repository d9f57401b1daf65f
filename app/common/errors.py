"""The error tree: what a user can mend, and what is ours.

A `UserFacingError` may be shown as it is: its message names what is wrong, its field where,
its remedy what to do. Anything else that escapes is a defect and shows with a traceback.
How another process ended is no exception at all but a value (see `app.training.supervisor`).
"""


class CoTrainError(Exception):
    """Root of the errors that this app raises on purpose."""


class UserFacingError(CoTrainError):
    """Something that the user can mend.

    message: what is wrong, a sentence.
    field: the setting or spec field it is about, dotted (``training_params.seed``), or "".
    remedy: what to do about it, a sentence, or "".
    """

    def __init__(self, message: str, *, field: str = "", remedy: str = "") -> None:
        self.message = message
        self.field = field
        self.remedy = remedy
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """All three parts on one line, for a log or a terminal."""
        head = f"{self.field}: {self.message}" if self.field else self.message
        return f"{head} {self.remedy}".rstrip()


class SpecError(UserFacingError):
    """A swarm's spec is wrong."""


class InviteError(SpecError):
    """An invite, which carries a spec, can't be read or is wrong."""


class SettingsError(UserFacingError):
    """A setting, environment variable or command-line option is wrong."""


class DamagedSettingsError(SettingsError):
    """The settings file is none; it was set aside."""


class FolderError(UserFacingError):
    """One of our folders can't be made, or can't be written to."""


class DataError(UserFacingError):
    """The training data can't be had or read."""


class DeviceError(UserFacingError):
    """The chosen device can't be used."""


class AutostartError(UserFacingError):
    """What starts at login can't be changed."""


class JoinError(UserFacingError):
    """The swarm can't be entered."""


class BusyError(UserFacingError):
    """Another instance has this data folder, or the action doesn't fit the state we are in."""


class ConsentError(UserFacingError):
    """The volunteer, or a setting in their name, doesn't want this."""


class ConnectError(UserFacingError):
    """Another peer can't be reached."""


class TrainerError(UserFacingError):
    """The trainer process didn't do what it was told."""


class MachineKeyError(UserFacingError):
    """The key that signs for this machine can't be read."""


class LedgerError(UserFacingError):
    """The record of contributions can't be used."""


class ExportError(UserFacingError):
    """An export of contributions can't be written, or isn't what it says it is."""


class UpdateError(UserFacingError):
    """Whether there is a later version of this app can't be said."""


class DiagnosticsError(UserFacingError):
    """The archive for a report can't be written."""


class GpuRuntimeError(UserFacingError):
    """PyTorch for the GPU can't be fetched, or couldn't be used here."""


class ProtocolError(CoTrainError):
    """App and trainer don't speak the same language: a defect, or mixed versions."""
