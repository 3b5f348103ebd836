"""The child of `fence`: reads the results, locks itself in, answers questions line by line."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

from icckd.errors import IcckdError
from icckd.journal.folder import StateFolder
from icckd.results.fence import CPU_SECONDS, MEMORY_BYTES
from icckd.results.read import Results, open_results


def main() -> None:
    """Serve questions from standard input until it ends."""
    with open_results(StateFolder(Path(sys.argv[1]))) as results:
        results.query("select 1", rows=1)  # whatever is loaded late is loaded now
        _lock_in()
        _say({"ready": True})
        for line in sys.stdin.buffer:
            _allow_cpu()
            _say(_answer(results, json.loads(line)))


def _answer(results: Results, question: dict[str, Any]) -> dict[str, Any]:
    try:
        table, is_cut = results.query(question["sql"], rows=question["rows"])
    except IcckdError as error:
        return {"error": error.message, "hint": error.hint}
    except MemoryError:
        return {"error": "SQL: it needed more memory than it may have", "hint": "ask for less"}
    return {"columns": table.columns, "rows": table.rows, "is_cut": is_cut}


def _lock_in() -> None:
    """Bound memory, and forbid new files and any byte in one."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + MEMORY_BYTES
    open_files = max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, open_files),
    ):
        resource.setrlimit(limit, (value, value))


def _allow_cpu() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _say(reply: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(reply, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
