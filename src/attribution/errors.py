"""The one exception that a user is meant to read: a single clear line saying what is wrong and what to do."""


class StudyError(Exception):
    """Bad input, a damaged artifact or a failed computation; steps print its message and exit with 1."""
