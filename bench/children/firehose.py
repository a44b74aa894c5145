"""Stream JSON as fast as it is taken: firehose.py BYTES. Every 64 MB there is one line of 5 MB; the last is the result.

The last line but one tells on stderr how many lines and bytes there were.
"""

import os
import sys

LINE = b'{"type": "assistant", "message": {"id": "m", "role": "assistant", "content": [{"type": "text", "text": "'
LINE += b"x" * 480 + b'"}]}}\n'
LONG = b'{"type": "user", "message": {"content": [{"type": "tool_result", "content": "' + b"y" * 5_000_000 + b'"}]}}\n'
RESULT = b'{"type": "result", "subtype": "success", "is_error": false, "terminal_reason": "completed", "result": ""}\n'


def main(most: int) -> None:
    block = LINE * 400
    lines = sent = since = 0
    while sent < most:
        long = since >= 64_000_000 or (not sent and most < 64_000_000)
        data = LONG if long else block
        since = 0 if long else since + len(data)
        left = memoryview(data)
        while left:
            left = left[os.write(1, left) :]
        sent += len(data)
        lines += 1 if long else 400
    os.write(1, RESULT)
    os.write(2, b"%d %d\n" % (lines + 1, sent + len(RESULT)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
