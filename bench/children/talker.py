"""An agent that talks evenly: talker.py LINES_PER_SECOND SECONDS. Each line tells when it was written."""

import os
import sys
import time

TAIL = b', "message": {"id": "m", "content": [{"type": "text", "text": "' + b"x" * 120 + b'"}]}}\n'


def main(rate: int, seconds: float) -> None:
    began = time.monotonic()
    burst = max(1, rate // 100)
    for number in range(int(rate * seconds / burst)):
        time.sleep(max(0.0, began + number * burst / rate - time.monotonic()))
        for _ in range(burst):
            os.write(1, b'{"type": "assistant", "t": %.6f' % time.monotonic() + TAIL)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
