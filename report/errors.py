"""The error that stops a build, with one sentence for the user who ran `make report`."""


class BuildError(Exception):
    """The message names the place and the fault, and says what to do if that is not obvious."""
