"""A demo that cannot be made, said without a traceback."""


class DemoError(Exception):
    """The message says what was given, what is wanted, and what to do."""
