"""The version: of the package, and of what is written into bundles and reports."""

__version__ = "0.1.0"
