"""What programs leave beside the work: byte code, caches, virtual environments, desktop and editor files.

None of it enters a commit unless the base tracks its like. The patterns are those that GitHub's and the ecosystems' own
`.gitignore` templates agree on; names that a project may use for its own sources (`build`, `target`, `env`) are known
by what lies in them instead.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from orchestrator.git.disk import small

PATTERNS = (
    *("__pycache__/", "*.py[cod]", "*.egg-info/", ".eggs/", ".venv/", ".tox/", ".nox/", ".pytest_cache/"),
    *(".mypy_cache/", ".ruff_cache/", ".hypothesis/", ".ipynb_checkpoints/", ".coverage", ".coverage.*"),
    *("node_modules/", ".npm/", ".pnpm-store/", ".parcel-cache/", ".turbo/", ".nyc_output/", "*.tsbuildinfo"),
    *(".gradle/", ".bundle/", ".dart_tool/", ".terraform/", ".sass-cache/", ".ccls-cache/", ".clangd/"),
    *(".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".directory", ".Trash-*/"),
    *(".idea/", ".vscode/", ".vs/", "*.sw[nop]", "*~", "\\#*\\#", ".\\#*", "*.orig", "*.rej"),
)

# A folder with one of these in it was made by a program that says so; see bford.info/cachedir for the second.
_MARKERS = {"pyvenv.cfg": b"", "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55"}


def marked_folders(top: Path, paths: list[str]) -> list[str]:
    """The folders, below `top`, that one of the new files `paths` marks as a virtual environment or a cache."""
    found = []
    for path in map(PurePosixPath, paths):
        begin = _MARKERS.get(path.name)
        if begin is not None and path.parent.name and small(top / path, 100).startswith(begin):
            found.append(str(path.parent))
    return [folder for folder in found if not any(folder.startswith(f"{other}/") for other in found)]
