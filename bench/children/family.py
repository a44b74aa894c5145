"""A leader that ignores SIGTERM, with three children, one of them in a session of its own; their pids on one line."""

import os
import signal
import subprocess
import sys


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    children = [subprocess.Popen(["sleep", "300"], start_new_session=escapes) for escapes in (False, False, True)]
    sys.stdout.write(" ".join(str(pid) for pid in (os.getpid(), *(c.pid for c in children))) + "\n")
    sys.stdout.flush()
    signal.alarm(300)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
