"""What all messages between the app and its child processes have in common."""

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Base of all messages. In JSON, the field ``type`` holds the class name."""
