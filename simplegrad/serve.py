"""`simplegrad app [FILES]`: the app in any folder, from a checkout or from an installed wheel."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from .extras import need

_HERE = Path(__file__).parent


def script() -> Path:
    """app.py: beside the package in a checkout, inside it where it was installed."""
    installed = _HERE / "app" / "app.py"
    return installed if installed.exists() else _HERE.parent / "app.py"


def serve(files: Sequence[str], options: Sequence[str] = ()) -> int:
    """Run the app until it is stopped. `options` are those of `streamlit run`. Raises MissingExtra, OSError."""
    need("simplegrad app")
    if unknown := [option for option in options if "=" not in option]:
        raise OSError(f"{unknown[0]}: options for Streamlit are written with =, such as --server.port=8600.")
    for file in files:
        if not Path(file).exists():
            raise FileNotFoundError(f"{file}: no such file. Give Python files with aggregates, or saved traces.")
    from streamlit.web import cli

    sys.argv = ["streamlit", "run", str(script()), *options, "--", *files]
    return cli.main(standalone_mode=False) or 0
