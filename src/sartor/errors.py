"""What can go wrong and belongs to the user, as one tree; anything else that is raised is our bug."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SartorError(Exception):
    """The user's problem, told in one sentence: what is wrong, where, and what would be right.

    The command line prints the message without a traceback and ends with ``exit_code``.
    """

    exit_code = 1


class RequirementError(SartorError):
    """One or more problems in a requirement; ``problems`` holds a sentence for each."""

    def __init__(self, problems: Iterable[str], *, source: str = "requirement") -> None:
        self.problems = tuple(problems)
        self.source = source
        if len(self.problems) == 1:
            text = f"{source}: {self.problems[0]}"
        else:
            lines = "\n".join(f"  {problem}" for problem in self.problems)
            text = f"{source} has {len(self.problems)} problems:\n{lines}"
        super().__init__(text)


class DataError(SartorError):
    """The data cannot be used as it is."""


class DeviceError(SartorError):
    """The target device, or something the requirement expects of it, is not there."""


class MissingExtra(SartorError):
    """An optional package is needed; the message holds the command that installs it.

    ``extra`` is empty for a package of the base install.
    """

    def __init__(self, feature: str, extra: str, package: str = "") -> None:
        self.extra = extra
        what = f" ({package} is not installed)" if package else ""
        if extra:
            super().__init__(f'{feature} needs the extra "{extra}"{what}. Run: pip install "sartor[{extra}]"')
        else:
            super().__init__(f"{feature} needs {package}, which is not installed. Run: pip install {package}")


class Unsupported(SartorError):
    """A plug-in declines a candidate: recorded as a reason in the decision, never a crash.

    Args:
        code: reason code in capitals, e.g. ``NO_INT8``.
        detail: one sentence.
    """

    def __init__(self, code: str, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(f"{code}: {detail}")


class VerifyError(SartorError):
    """A package does not hold what it promised."""

    exit_code = 4


class Refused(SartorError):
    """Refused for safety, licence or signature; nothing was loaded."""

    exit_code = 5


class StorageError(SartorError):
    """The disk is full, read-only or otherwise does not take what has to be kept."""


def rebuild(kind: str, message: str) -> SartorError:
    """An error as it was raised in another process, from its class name and its message."""
    kinds: list[type[SartorError]] = [SartorError, *SartorError.__subclasses__()]
    found = next((known for known in kinds if known.__name__ == kind), SartorError)
    error: SartorError = found.__new__(found)
    error.args = (message,)
    return error


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed spelling nearest to ``word``, or None where nothing is near."""
    matches = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return matches[0] if matches else None
