"""What a fetch brings lies in a folder of its own until git has checked all of it.

Git puts what it was sent among the other objects, and looks at some of it only then: at a `.gitmodules` whose content
was there before. What it refuses stays, and the next fetch, which is sent nothing, takes it unchecked; git's words on
`transfer.fsckObjects` warn of that. Here the packs move over once every check has passed, in git's own moment right
before the first ref moves, so that nobody meets a ref without its objects, whenever something is killed.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from orchestrator.git.environment import Place

# An index comes last: without it a pack is not seen. Once is enough, and git asks again for every ref that moves.
_LET_IN = """#!/bin/sh
[ "$1" = prepared ] || exit 0
mkdir -p {to} && cd {packs} || exit
for index in pack-*.idx; do
  [ -e "$index" ] || exit 0
  for part in "${{index%.idx}}.pack" "${{index%.idx}}.rev" "$index"; do
    [ ! -e "$part" ] || mv -f "$part" {to}/ || exit
  done
done
rm -f {hook}
"""


@contextmanager
def checked_first(place: Place, base: Path, prefix: str) -> Iterator[Place]:
    """`place` for one fetch. The folder lies in `base`, on the disk of the repository, and is called `prefix...`."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=base) as made:
        folder = Path(made)
        packs, hook = folder / "objects" / "pack", folder / "hooks" / "reference-transaction"
        packs.mkdir(parents=True)
        hook.parent.mkdir()
        to = place.git_dir / "objects" / "pack"
        let_in = _LET_IN.format(packs=_word(packs), to=_word(to), hook=_word(hook))
        hook.write_text(let_in)
        hook.chmod(0o700)
        yield replace(place, incoming=folder)
        # What git fetched after the first ref had moved (tags), or where no program may be started, so no hook either.
        if any(packs.glob("*.idx")):
            subprocess.run(["sh", "-c", let_in, "sh", "prepared"], check=True)


def _word(path: Path) -> str:
    return shlex.quote(str(path))
