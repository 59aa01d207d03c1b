"""The end of a process in the middle of a training, as far as it can be had within one process."""


class Killed(BaseException):
    """Stands for the end of the process at one point."""
