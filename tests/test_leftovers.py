"""Whom the search for what a run left takes for one of the run's."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from orchestrator import leftovers


def test_a_number_that_means_another_process_by_now_is_left_alone() -> None:
    deaf = ["/bin/sh", "-c", "trap '' TERM; echo up; exec sleep 60"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        [known] = leftovers.ask("of nobody", child.pid, [], walled=False)
        somebody_before = known._replace(born=known.born - 1)
        assert leftovers.end("of nobody", -1, [somebody_before]) == set()
        assert child.poll() is None
        assert leftovers.end("of nobody", -1, [known], 0.0) == {known}
        assert child.wait() == -signal.SIGKILL


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere psutil looks")
def test_without_a_descriptor_to_look_with_nobody_is_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as child:
        monkeypatch.setattr(os, "open", none_left)
        with pytest.raises(OSError, match="open files"):
            leftovers.strike("of nobody", child.pid, [])
        monkeypatch.undo()
        assert child.wait() == -signal.SIGKILL
