"""Why a gradient is None, zero, NaN or what it is: read from a trace."""

from .diagnosis import Diagnosis, diagnose
from .why import Finding, Link, Why, why

__all__ = ["Diagnosis", "Finding", "Link", "Why", "diagnose", "why"]
