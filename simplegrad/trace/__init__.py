"""One run as a flat list of events: recording it, going to any point of it, printing it, keeping it in a file."""

from .recorder import LimitError, Recorder, record
from .replay import Gradient, State
from .store import TraceFileError
from .trace import Trace

__all__ = ["Gradient", "LimitError", "Recorder", "State", "Trace", "TraceFileError", "record"]
