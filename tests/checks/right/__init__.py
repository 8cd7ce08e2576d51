"""Right `torch.autograd.Function`s in the styles that people write them in: nothing here may be accused.

`RIGHT[name]` is a `Right`; the mutation harness changes their backwards one by one.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from .register import Right

FOLDER = Path(__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("[!_]*.py") if path.stem != "register")
RIGHT: dict[str, Right] = {}
HOME: dict[str, Path] = {}  # name -> the file that it stands in

for _stem in MODULES:
    for _name, _case in importlib.import_module(f"{__name__}.{_stem}").right.items():
        RIGHT[_name], HOME[_name] = _case, FOLDER / f"{_stem}.py"
