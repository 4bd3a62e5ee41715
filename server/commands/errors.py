"""Errors of the command line, which are reported without a traceback."""


class CommandError(Exception):
    """A command cannot be run; the message says what was given, what is wanted, and what to do."""
