"""The error of the demo."""


class DemoError(Exception):
    """A demo cannot be made; the message says what was given, what is wanted, and what to do."""
