"""The one exception for input a person can mend."""


class InputError(ValueError):
    """Bad input: the message names the value and the way out.

    The command line prints it as one line and exits with 2; the viewer shows it
    as a notification. Anything else that is raised is a bug of ours.
    """
