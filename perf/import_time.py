"""What `import rmr1_sdk` costs, as a ratio to `from pydantic import BaseModel` in the same run.

`python perf/import_time.py` exits with 1 when it takes more than 1.6 times as long.
"""

import statistics
import subprocess
import sys

LIMIT = 1.6
ROUNDS = 15


def milliseconds(statement: str) -> float:
    code = f"import time; t = time.perf_counter(); {statement}; print((time.perf_counter() - t) * 1000)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    theirs, ours = [], []
    for _ in range(ROUNDS):  # in turns, so that what else the machine does falls on both
        theirs.append(milliseconds("from pydantic import BaseModel"))
        ours.append(milliseconds("import rmr1_sdk"))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"from pydantic import BaseModel  {statistics.median(theirs):6.1f} ms (median of {ROUNDS})")
    print(f"import rmr1_sdk                 {statistics.median(ours):6.1f} ms, {ratio:.2f} times as long")
    sys.exit(ratio > LIMIT)


if __name__ == "__main__":
    main()
