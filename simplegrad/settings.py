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
            "%s=%s is no number above 0; it is %g instead.", self.name, said, self.default
        )
        return self.default


READ_SECONDS = Setting("SIMPLEGRAD_READ_SECONDS", 10, "seconds that reading a file of the command line may take")
