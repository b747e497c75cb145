"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake in what the user gave; its one-line message says what, where and what to do. Exit code 2."""
