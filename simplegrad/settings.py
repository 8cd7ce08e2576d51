"""Limits that whoever runs a server may set: a name, what it limits, and what it is unless somebody says otherwise."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A number of the environment, read when it is asked for."""

    name: str
    default: float
    what: str

    def __call__(self) -> float:
        said = os.environ.get(self.name, "")
        try:
            number = float(said or self.default)
        except ValueError:
            number = -1.0
        if number > 0:
            return number
        logging.getLogger("simplegrad").warning(
            "%s=%s is not a number above 0; it is %g instead.", self.name, said, self.default
        )
        return self.default


READ_SECONDS = Setting("SIMPLEGRAD_READ_SECONDS", 10, "seconds that reading a file of the command line may take")
RUN_SECONDS = Setting("SIMPLEGRAD_RUN_SECONDS", 10, "seconds of one run of a program in the app")
RUNS = Setting("SIMPLEGRAD_RUNS", 2, "programs that run at the same moment on a server; one at a time for each page")
BYTES = Setting("SIMPLEGRAD_BYTES", 240_000_000, "bytes of runs that a server keeps, and again of what it made of them")
UPLOAD_BYTES = Setting(
    "SIMPLEGRAD_UPLOAD_BYTES", 600_000_000, "bytes of memory that reading a trace opened in the browser may take, about"
)
ALL = (READ_SECONDS, RUN_SECONDS, RUNS, BYTES, UPLOAD_BYTES)
