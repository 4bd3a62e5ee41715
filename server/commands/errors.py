"""Mistakes of a user of the command line, reported without a traceback."""


class CommandError(Exception):
    """A command cannot be run; the message says what was given, what is wanted, and what to do."""
