"""The errors of the program, and the exit code each one gives.

::

    AlpsError                      1   any other error of the program
    ├── ExecutionError             1   a process, a worker or a scheduler was lost
    ├── InvalidBidsError          16   the input is not a valid BIDS dataset
    ├── AnalysisLevelError        17   an analysis level other than participant or group
    ├── NothingSelectedError      18   no file matches the filters
    ├── UsageError                64   the command line or a settings file is wrong
    ├── BadDataError              65   a file's content cannot be used
    │   ├── GradientError              b-values or b-vectors
    │   ├── ImageError                 an image
    │   ├── MetadataError              a sidecar or a table
    │   ├── AmbiguityError             several candidates where one is needed
    │   ├── CoverageError              the scan does not cover what is to be measured
    │   └── RegistrationError          subject and template could not be aligned
    ├── NoInputError              66   a given file or folder does not exist
    │   └── TemplateMissingError       a template or atlas is not cached and cannot be downloaded
    ├── OutputError               73   the output cannot be written
    └── StorageError              74   reading or writing failed midway

Every message has the form ``<where>: <what is wrong, with numbers>. <what to do>.``
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar, Self


class AlpsError(Exception):
    """Base class of errors that are reported to the user in one sentence.

    Parameters
    ----------
    where
        File, option or stage that the error concerns.
    what
            What is wrong, with numbers, without a full stop.
    remedy
            What to do about it, without a full stop.

    Examples
    --------
    >>> str(BadDataError("sub-01_dwi.bval", "5 b-values for 6 volumes", "give one b-value per volume"))
    'sub-01_dwi.bval: 5 b-values for 6 volumes. Give one b-value per volume.'
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, where: str, what: str, remedy: str) -> None:
        super().__init__(where, what, remedy)  # all three, so that the error survives pickling
        self.where, self.what, self.remedy = where, what, remedy

    def __str__(self) -> str:
        remedy = self.remedy[:1].upper() + self.remedy[1:]
        stop = "" if self.what.endswith("?") else "."
        return f"{self.where}: {self.what}{stop} {remedy}."

    def at(self, where: str) -> Self:
        """Return the same error for another location, such as the file from which the values were read."""
        return type(self)(where, self.what, self.remedy)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion of the known word closest to a misspelt one; empty if there is none.

    Examples
    --------
    >>> did_you_mean("--participant-lable", ["--participant-label", "--force"])
    '; did you mean --participant-label?'
    >>> did_you_mean("xyz", ["alps"])
    ''
    """
    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


class ExecutionError(AlpsError):
    """A process, a worker or a scheduler was lost."""


class InvalidBidsError(AlpsError):
    """The input is not a valid BIDS dataset."""

    exit_code = 16


class AnalysisLevelError(AlpsError):
    """The analysis level does not exist."""

    exit_code = 17


class NothingSelectedError(AlpsError):
    """No file matches the filters."""

    exit_code = 18


class UsageError(AlpsError):
    """The command line or a settings file is wrong."""

    exit_code = 64


class BadDataError(AlpsError):
    """A file's content cannot be used."""

    exit_code = 65


class GradientError(BadDataError):
    """B-values or b-vectors cannot be used."""


class ImageError(BadDataError):
    """An image cannot be used."""


class MetadataError(BadDataError):
    """A sidecar or a table cannot be used."""


class AmbiguityError(BadDataError):
    """The dataset gives several candidates where one is needed."""


class CoverageError(BadDataError):
    """The scan does not cover what is to be measured."""


class RegistrationError(BadDataError):
    """Subject and template could not be aligned."""


class NoInputError(AlpsError):
    """A given file or folder does not exist."""

    exit_code = 66


class TemplateMissingError(NoInputError):
    """A template or atlas is not cached and cannot be downloaded."""


class OutputError(AlpsError):
    """The output cannot be written."""

    exit_code = 73


class StorageError(AlpsError):
    """Reading or writing failed midway."""

    exit_code = 74


def permission_error(error: PermissionError) -> AlpsError:
    """Return the error to report for a file without read permission.

    Examples
    --------
    >>> str(permission_error(PermissionError(13, "Permission denied", "/data/a.bval")))
    '/data/a.bval: permission denied. Give the user that runs bids-alps access to it.'
    """
    return NoInputError(str(error.filename), "permission denied", "give the user that runs bids-alps access to it")
