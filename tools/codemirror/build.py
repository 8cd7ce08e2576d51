"""Makes the player's CodeMirror anew: `python tools/codemirror/build.py`, with npm.

Versions stand in package.json, and of all that these need in package-lock.json, with their checksums. What is made is
one file and the licences of what is in it; both are committed, so that nobody needs npm to run or to install.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PLAYER = HERE.parents[1] / "simplegrad" / "view" / "player"
BUNDLE, LICENCES = PLAYER / "codemirror.js", PLAYER / "codemirror.licences.txt"
GIVEN = ("package.json", "package-lock.json", "entry.js")
NAME = "CodeMirror"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle, licences = built(Path(folder))
    BUNDLE.write_text(bundle)
    LICENCES.write_text(licences)
    print(f"{BUNDLE.name}: {len(bundle):,} characters")


def built(folder: Path) -> tuple[str, str]:
    """The bundle and its licences, made in a folder."""
    for name in GIVEN:
        shutil.copy(HERE / name, folder)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    options = ["--bundle", "--minify", "--format=iife", f"--global-name={NAME}", "--target=es2022", "--log-level=error"]
    command = ["node_modules/.bin/esbuild", "entry.js", *options, "--outfile=made.js", "--metafile=meta.json"]
    subprocess.run(command, cwd=folder, check=True)
    made = (folder / "made.js").read_text()
    packages = used(json.loads((folder / "meta.json").read_text()))
    return head(folder, packages) + made.replace(f"var {NAME}=", f"export const {NAME}=", 1), told(folder, packages)


def used(meta: dict) -> list[str]:
    """The packages that the bundle has something of."""
    paths = [path.split("node_modules/")[-1].split("/") for path in meta["inputs"] if "node_modules/" in path]
    return sorted({"/".join(parts[: 2 if parts[0].startswith("@") else 1]) for parts in paths})


def head(folder: Path, packages: list[str]) -> str:
    versions = [f"{name} {version(folder, name)}" for name in packages]
    return f"// Made by tools/codemirror/build.py of {', '.join(versions)}. Licences: {LICENCES.name}\n"


def version(folder: Path, package: str) -> str:
    return json.loads((folder / "node_modules" / package / "package.json").read_text())["version"]


def told(folder: Path, packages: list[str]) -> str:
    """Each licence once, under the names of those that have it."""
    texts: dict[str, list[str]] = {}
    for package in packages:
        text = (folder / "node_modules" / package / "LICENSE").read_text().strip()
        texts.setdefault(text, []).append(package)
    return "\n\n".join(f"{', '.join(names)}\n\n{text}" for text, names in texts.items()) + "\n"


if __name__ == "__main__":
    main()
