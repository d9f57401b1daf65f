"""What the kernel offers to confine a trainer with."""

import sys


def offered() -> str:
    """One sentence for a fault report."""
    if sys.platform != "linux":
        return "Landlock exists on Linux only: trainers run with all of the user's rights."
    try:
        from landlockpy import abi_version
    except ImportError as error:
        return f"landlockpy is missing ({error}): trainers run with all of the user's rights."
    if not (version := abi_version()):
        return "This kernel doesn't offer Landlock: trainers run with all of the user's rights."
    return f"Landlock (version {version}) holds trainers to their own files."
