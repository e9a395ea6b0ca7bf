"""The one exception for input a person can mend."""

from os import PathLike


class InputError(ValueError):
    """Bad input: the message names the value and the way out.

    The command line prints it as one line and exits with 2; the viewer shows it
    as a notification. Anything else that is raised is a bug of ours.
    """


def unreadable(path: PathLike[str], error: OSError) -> InputError:
    """Return what to raise for a file that the system does not let us read."""
    why = error.strerror or error
    return InputError(f"{path} cannot be read: {why}; check that it is there and may be read.")
