"""The child of `sandbox`: reads the results, locks itself in, answers questions line by line."""

import json
import resource
import sys
from pathlib import Path
from typing import IO, Any

from icckd.errors import IcckdError
from icckd.journal.folder import StateFolder
from icckd.resources.processes import answers
from icckd.results.query import Results, open_results
from icckd.results.sandbox import CPU_SECONDS, MEMORY_BYTES
from icckd.results.store import out_of_memory
from icckd.results.values import plain


def main() -> None:
    """Serve questions from standard input until it ends."""
    out = answers()
    with open_results(StateFolder(Path(sys.argv[1]))) as results:
        results.query("select 1", rows=1)  # whatever is loaded late is loaded now
        _lock_in()
        _say(out, {"ready": True})
        for line in sys.stdin.buffer:
            _allow_cpu()
            _say(out, _answer(results, json.loads(line)))


def _answer(results: Results, question: dict[str, Any]) -> dict[str, Any]:
    try:
        table, is_cut = results.query(question["sql"], rows=question["rows"])
    except IcckdError as error:
        return _refusal(error)
    except MemoryError:
        return _refusal(out_of_memory())
    return {"columns": table.columns, "rows": table.rows, "is_cut": is_cut}


def _refusal(error: IcckdError) -> dict[str, Any]:
    return {"error": error.message, "hint": error.hint}


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


def _say(out: IO[bytes], reply: dict[str, Any]) -> None:
    rest = memoryview(json.dumps(plain(reply)).encode() + b"\n")
    while rest:  # a pipe takes a part at a time
        rest = rest[out.write(rest) :]


if __name__ == "__main__":
    main()
