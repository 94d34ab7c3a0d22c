"""The one exception that means "the user's input is wrong": scripts print it and exit with status 2."""


class InputError(ValueError):
    """A file, record, setting or argument that the user gave is unusable.

    The message is one line: the file (line, record, tensor), what was found, what was expected, what to do.
    """
