"""What ends a training in the middle, in this process."""


class Stopped(Exception):  # noqa: N818 - a power cut, not a mistake
    """Somebody pulled the plug."""
