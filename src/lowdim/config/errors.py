"""The error that means the user must change something, not the program."""


class UserError(Exception):
    """A mistake in what the user wrote: its text names the culprit and the remedy in one line."""
