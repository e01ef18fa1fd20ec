"""What stops a build, as one sentence for whoever typed `make report`."""


class BuildError(Exception):
    """Its message names the place, says what is wrong, and what to do if that is not plain."""
