"""What a user of the command line did wrong, said without a traceback."""


class CommandError(Exception):
    """The message says what was given, what is wanted, and what to do."""
