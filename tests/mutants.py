"""Mutants: which small faults of two commits do their own tests notice? A tool, no test.

Each CHECKOUT is a clean one of its own, with its own environment that has pytest-cov, too; its
files are edited and restored. What is drawn is a mutant that both commits have, exactly once.

    python tests/mutants.py draw --seed 12 --count 200 BEFORE AFTER DRAWN.json
    python tests/mutants.py run CHECKOUT REACHED.jsonl DRAWN.json OUT.jsonl TESTS...
    python tests/mutants.py compare DRAWN.json BEFORE.jsonl AFTER.jsonl
    python tests/mutants.py cover CHECKOUT FOLDER TESTS...   # lines and branches of each area

`run` resumes where it stopped. It notes first which tests reach which mutants, then tries each
mutant on those, the quickest first; one that no test reaches survives. Tests are collected once;
each try is a fork whose function has other code. A test that fails also where the file is changed
but not what it does (for it holds a digest of source, or fails anyway) does not count.
"""

import ast
import builtins
import contextlib
import copy
import ctypes
import gc
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawTextHelpFormatter
from collections import Counter, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

PRODUCT = "core/icckd"
AREAS = {  # files of the layout before the redesign of November 2026, and of the one after it
    "statistics": r"stats/|results/(growth|looks|judge|formula|effects|seeds|rules|verdicts)\.",
    "journal": r"journal/",
    "losses": r"(engine|train)/(losses|distillers)/|"
    r"engine/(cache|anchors|groups|drift|memory|stability|teaching)\.",
    "plan": r"plan\.|design/|study/(plan|arms|records|calibration|origin|source|problems)\.",
    "compare": r"results/(compare|comparison|versus|pairing|published|trial_series|classic|series|"
    r"selection|bits)\.",
}
MOST_TESTS, MOST_OF_ONE_FUNCTION, MOST_SECONDS, TIMEOUT = 25, 3, 20.0, 60.0
LONGEST_REACH = 300.0
ORDINARY_AND_SLOW = "not long and not gpu"
REACHED = "_mutant_reached"
NOTHING = b"\n\n_NOTHING_ELSE = True\n"
CAUGHT = ("caught", "timeout", "crash")

WORDS = (
    "Lt LtE Gt GtE Eq NotEq Is IsNot In NotIn Add Sub Mult Div BitAnd BitOr And Or min max any all "
    "amin amax floor ceil minimum maximum argmin argmax clamp_min clamp_max"
)
OPPOSITE = dict(zip(WORDS.split()[::2], WORDS.split()[1::2], strict=True))
OPPOSITE |= {new: old for old, new in OPPOSITE.items()}
OPPOSITE |= {"Mod": "Mult", "FloorDiv": "Mult", "Pow": "Mult"}
INNER = ("body", "orelse", "finalbody", "handlers")


Key = namedtuple("Key", "function statement position mutation")
Point = namedtuple("Point", "file node statement text")  # of the node, what takes its place


def area_of(file: str) -> str | None:
    inside = file.partition(f"{PRODUCT}/")[2]
    return next((area for area, rule in AREAS.items() if re.match(rule, inside)), None)


def unparsed(node: Any, **changes: Any) -> str:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return ast.unparse(changed)


def header(statement: ast.stmt) -> str:
    """Return a statement without the statements in it."""
    inner = {name: [ast.Pass()] if name == "body" else [] for name in INNER}
    found = {name: value for name, value in inner.items() if hasattr(statement, name)}
    return unparsed(statement, **found).removesuffix("\n    pass")


def expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a statement in order, but none inside of an f-string."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name not in (*INNER, "annotation", "cases"):
                if isinstance(child, ast.expr):
                    yield child
                if not isinstance(child, ast.JoinedStr):
                    yield from expressions(child)


def opposite(operator: ast.AST) -> tuple[str, Any]:
    old = type(operator).__name__
    return f"{old} to {OPPOSITE[old]}", getattr(ast, OPPOSITE[old])()


def of_expression(node: ast.expr) -> Iterator[tuple[str, str]]:
    """Yield the name and the new text of every mutation."""
    match node:
        case ast.Compare(ops=ops):
            for i, (name, new) in enumerate(map(opposite, ops)):
                yield f"{name}, {i}", unparsed(node, ops=[*ops[:i], new, *ops[i + 1 :]])
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op).__name__ in OPPOSITE:
            name, new = opposite(op)
            yield name, unparsed(node, op=new)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield f"{type(node.op).__name__} removed", ast.unparse(operand)
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            yield "one more", str(value + 1)
            yield "one less", str(value - 1)
        case ast.Constant(value=float() as value):
            yield "doubled", repr(value * 2 or 1.0)
        case ast.Name(id=name) if name in OPPOSITE:
            yield f"{name} to {OPPOSITE[name]}", OPPOSITE[name]
        case ast.Attribute(attr=name) if name in OPPOSITE:
            yield f"{name} to {OPPOSITE[name]}", unparsed(node, attr=OPPOSITE[name])


def of_statement(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    match statement:
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield "return of None", statement, "return None"
        case (
            ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete()
            | ast.Continue() | ast.Break()
        ):  # fmt: skip
            yield "removed", statement, "pass"
        case ast.If(test=test) | ast.While(test=test):
            if not (isinstance(test, ast.Compare) and len(test.ops) == 1):  # that has its opposite
                yield "negated", test, f"(not ({ast.unparse(test)}))"


def statements(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Yield the statements inside of functions, with the innermost function's name."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from statements(child, child.name)
        elif isinstance(child, ast.ClassDef):
            yield from statements(child)
        else:
            if isinstance(child, ast.stmt) and function:
                yield function, child
            yield from statements(child, function)


def points(checkout: Path) -> dict[Key, list[Point]]:
    """Return every mutation of the product."""
    found: dict[Key, list[Point]] = defaultdict(list)
    for path in sorted((checkout / PRODUCT).rglob("*.py")):
        file = str(path.relative_to(checkout))
        for function, statement in statements(ast.parse(path.read_bytes())):
            text = header(statement)
            for name, node, new in of_statement(statement):
                found[Key(function, text, 0, name)].append(Point(file, node, statement, new))
            for i, node in enumerate(expressions(statement), start=1):
                for name, new in of_expression(node):
                    point = Point(file, node, statement, f"({new})")
                    found[Key(function, text, i, name)].append(point)
    return found


def draw(old_checkout: Path, new_checkout: Path, drawn_file: Path, seed: int, count: int) -> None:
    before, after = points(old_checkout), points(new_checkout)
    kept: dict[str, list[Key]] = {area: [] for area in AREAS}
    for key, places in sorted(before.items()):
        area = area_of(places[0].file)
        if area and len(places) == len(after.get(key, [])) == 1:
            kept[area].append(key)
    of_area = Counter(area_of(point.file) for places in before.values() for point in places)
    both = {area: f"{len(keys)} of {of_area[area]}" for area, keys in kept.items()}
    randomly = random.Random(seed)
    for keys in kept.values():
        randomly.shuffle(keys)
    drawn: list[dict[str, Any]] = []
    while len(drawn) < count and any(kept.values()):  # from each area in turn
        for area in [area for area in AREAS if kept[area]][: count - len(drawn)]:
            key = kept[area].pop()
            old, new = before[key][0], after[key][0]
            where = f"{new.file.removeprefix(PRODUCT)[1:]}:{new.node.lineno}"
            drawn.append({"area": area, **key._asdict(), "new": old.text, "where": where})
    head = {"seed": seed, "in both": both}
    drawn_file.write_text(json.dumps({**head, "mutants": drawn}, indent=1) + "\n")
    print(head)


def cover(checkout: Path, folder: Path, *tests: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rules, report = folder / "rules.ini", folder / "report.json"
    rules.write_text(
        f"[run]\nbranch = true\nparallel = true\nsource = {checkout / PRODUCT}\n"
        f"data_file = {folder}/coverage\npatch = subprocess, fork, _exit\n"
        "disable_warnings = no-data-collected, module-not-imported, module-not-measured\n"
    )
    options = ["--cov", f"--cov-config={rules}", "--cov-report=", "-q", "-p", "no:cacheprovider"]
    options += ["-m", ORDINARY_AND_SLOW]
    subprocess.run([sys.executable, "-m", "pytest", *options, *map(str, tests)], check=False)
    command = [sys.executable, "-m", "coverage", "json", "-q", "-i", f"--rcfile={rules}"]
    subprocess.run([*command, "-o", str(report)], check=False)
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for file, about in json.loads(report.read_text())["files"].items():
        sums[area_of(file) or "other"].update(about["summary"])
    names = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    print("area", *names)
    for area in AREAS:
        print(area, *(sums[area][name] for name in names))


def place(node: ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def mark(tree: ast.AST, numbers: dict[tuple[int, int], list[int]]) -> ast.AST:
    """Have the statements of mutants, by their places, say that they were reached."""
    for parent in list(ast.walk(tree)):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(block := getattr(parent, name, None), list):
                for child in list(block):
                    for number in numbers.get(place(child), []):
                        call = ast.parse(f"{REACHED}({number})").body[0]
                        block.insert(block.index(child), ast.copy_location(call, child))
    return ast.fix_missing_locations(tree)


def reaching(file: Path, number: int) -> list[str]:
    """Return the tests to try a mutant on, in their order."""
    tried = map(json.loads, file.read_text().splitlines())
    those = sorted((seconds, name) for name, seconds, reached in tried if number in reached)
    chosen: list[str] = []
    of_function: Counter[str] = Counter()
    spent = 0.0
    for seconds, name in those:
        function = name.partition("[")[0]
        of_function[function] += 1
        has_time = not chosen or spent + seconds <= MOST_SECONDS
        if has_time and of_function[function] <= MOST_OF_ONE_FUNCTION:
            chosen.append(name)
            spent += seconds
    return chosen[:MOST_TESTS]


def by_place(code: CodeType) -> dict[tuple[str, int, int], CodeType]:
    """Return the code of every function, by its name, line and number in that line."""
    found, todo = {}, [code]
    for part in todo:
        todo += [constant for constant in part.co_consts if isinstance(constant, CodeType)]
        same = sum(key[:2] == (part.co_qualname, part.co_firstlineno) for key in found)
        found[part.co_qualname, part.co_firstlineno, same] = part
    return found


def changed(source: bytes, point: Point) -> bytes:
    """Return a file with a mutation; no line moves."""
    node, lines = point.node, source.splitlines(keepends=True)
    last, first = lines[node.end_lineno - 1], lines[node.lineno - 1]
    text = point.text.encode()
    more = b"\n" * (node.end_lineno - node.lineno)
    text = text[:-1] + more + b")" if text.endswith(b")") else text + more
    lines[node.lineno - 1 : node.end_lineno] = [
        first[: node.col_offset] + text + last[node.end_col_offset :]
    ]
    return b"".join(lines)


class Bench:
    """A plugin of pytest: what it collected is run in forks that have a changed function.

    The file is changed, too, for the processes that a test starts, and restored after it.
    """

    def __init__(self, checkout: Path, use: Callable[["Bench"], None]) -> None:
        self._checkout, self._use, self._clock = checkout, use, time.time()
        self.items: dict[str, Any] = {}
        self._functions: dict[str, list[FunctionType]] = defaultdict(list)
        self._failed: list[str] = []

    def pytest_runtestloop(self, session: Any) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        for function in gc.get_objects():
            if type(function) is FunctionType and PRODUCT in function.__code__.co_filename:
                self._functions[function.__code__.co_filename].append(function)
        gc.freeze()
        self._use(self)
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._failed += [report.nodeid] if report.failed else []

    def attempt(self, file: str, source: bytes, tests: list[str], limit: float):
        """Run tests until some fail; return what happened and which failed."""
        path = self._checkout / file
        original, times = path.read_bytes(), path.stat()
        self._clock += 1  # each with a time of its own, or Python would take another's bytecode
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                path.write_bytes(source)
                os.utime(path, (self._clock, self._clock))
                child = os.fork()
                if not child:
                    try:
                        os.setsid()
                        signal.signal(signal.SIGTERM, signal.SIG_DFL)
                        failed = None
                        if self._change(path, original, source) or source.endswith(NOTHING):
                            failed = list(self._run(tests, Path(folder), 1)) and self._failed
                        (Path(folder) / "result.json").write_text(json.dumps(failed))
                    finally:
                        os._exit(1)
                return wait_for(child, Path(folder), limit)
            finally:
                path.write_bytes(original)
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _change(self, path: Path, original: bytes, new: bytes | ast.AST) -> bool:
        """Give the functions of a file their new code; return whether there is any."""
        old, now = (by_place(compile(source, str(path), "exec")) for source in (original, new))
        codes_now = {code: now[where] for where, code in old.items() if where in now}
        has_changed = False
        for function in self._functions[str(path)]:
            if codes_now.get(function.__code__, function.__code__) != function.__code__:
                function.__code__ = codes_now[function.__code__]
                has_changed = True
        return has_changed

    def reach(self, points: dict[int, Point], tests: list[str], out: Path) -> None:
        """Note which tests reach which mutants, until it has taken long."""
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:
            reached: set[int] = set()
            setattr(builtins, REACHED, reached.add)
            for file in {point.file for point in points.values()}:
                numbers: dict[tuple[int, int], list[int]] = defaultdict(list)
                for number, point in points.items():
                    if point.file == file:
                        numbers[place(point.statement)].append(number)
                source = (self._checkout / file).read_bytes()
                tree = mark(ast.parse(source), numbers)
                self._change(self._checkout / file, source, tree)
            end = time.monotonic() + LONGEST_REACH
            with out.open("w") as lines, tempfile.TemporaryDirectory() as folder:
                started = time.monotonic()
                for test in self._run(tests, Path(folder), len(tests)):
                    seconds, started = time.monotonic() - started, time.monotonic()
                    if test not in self._failed:
                        print(json.dumps([test, seconds, sorted(reached)]), file=lines, flush=True)
                    reached.clear()
                    if time.monotonic() > end:
                        break
        finally:
            os._exit(0)

    def _run(self, tests: list[str], folder: Path, at_most: int) -> Iterator[str]:
        items = [self.items[name] for name in tests]
        items[0].config._tmp_path_factory._basetemp = folder
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            yield item.nodeid
            if len(self._failed) >= at_most:
                break


def wait_for(child: int, folder: Path, limit: float) -> tuple[str, list[str]]:
    end = time.monotonic() + limit
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)
    listed = subprocess.run(["ps", "-e", "-o", "ppid=,pid="], capture_output=True, text=True)
    for parent, left in (map(int, line.split()) for line in listed.stdout.splitlines()):
        if parent == os.getpid():  # what tests left running: we are its subreaper
            with contextlib.suppress(OSError):  # it was `ps`
                os.kill(left, signal.SIGKILL)
                os.waitpid(left, 0)
    result = folder / "result.json"
    if not result.exists():
        return ("timeout" if time.monotonic() > end else "crash"), []
    failed = json.loads(result.read_text())
    outcome = "not applied" if failed is None else "caught" if failed else "survived"
    return outcome, failed or []


def run(checkout: Path, reach: Path, drawn_file: Path, out: Path, *tests: Path) -> None:
    ctypes.CDLL(None).prctl(36, 1)  # a subreaper: what tests leave running becomes our child
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    subprocess.run(["git", "checkout", "-q", "--", PRODUCT], check=True)  # where it was killed
    sys.path.pop(0)
    import pytest

    drawn = json.loads(drawn_file.read_text())["mutants"]
    done, places = results(out), points(checkout)
    keys = [Key(*(mutant[name] for name in Key._fields)) for mutant in drawn]
    there = {i: places[key][0] for i, key in enumerate(keys) if len(places.get(key, [])) == 1}

    def use(bench: Bench) -> None:
        if not reach.exists():
            bench.reach(there, list(bench.items), reach)
        for number in range(len(drawn)):
            if number in done:
                continue
            started = time.monotonic()
            result = {"number": number, "outcome": "gone", "by": [], "tests": 0}
            if number in there:
                point = there[number]
                source = (checkout / point.file).read_bytes()
                names = reaching(reach, number)
                result |= {"file": point.file, "line": point.node.lineno, "outcome": "no tests"}
                result |= {"tests": len(names)}
                while names:
                    outcome, by = bench.attempt(point.file, changed(source, point), names, TIMEOUT)
                    result |= {"outcome": outcome, "by": by[:1]}
                    same = source + NOTHING
                    if not by or bench.attempt(point.file, same, by, TIMEOUT)[0] == "survived":
                        break
                    names.remove(by[0])  # it fails whatever the file does
                    result |= {"outcome": "no tests", "by": []}
            result["seconds"] = round(time.monotonic() - started, 1)
            with out.open("a") as lines:
                print(json.dumps(result), file=lines)

    options = ["-q", "-p", "no:cacheprovider", "-m", ORDINARY_AND_SLOW, *map(str, tests)]
    pytest.main(options, plugins=[Bench(checkout, use)])


def results(file: Path) -> dict[int, dict[str, Any]]:
    """Return the last result of each mutant."""
    lines = file.read_text().splitlines() if file.exists() else []
    return {result["number"]: result for result in map(json.loads, lines)}


def compare(drawn_file: Path, old: Path, new: Path) -> None:
    drawn = json.loads(drawn_file.read_text())["mutants"]
    before, after = results(old), results(new)
    counts: dict[str, Counter[str]] = {area: Counter() for area in [*AREAS, "all"]}
    listed: dict[str, list[str]] = defaultdict(list)
    for number in sorted(before.keys() & after.keys()):
        mutant, of = drawn[number], (before[number], after[number])
        was, now = (result["outcome"] in CAUGHT for result in of)
        kind = ("both" if now else "only before") if was else "only after" if now else "neither"
        for area in (mutant["area"], "all"):
            counts[area].update(["tried", *["before"] * was, *["after"] * now, kind])
        statement = mutant["statement"].splitlines()[0].replace("|", "\\|")
        tests = " / ".join(str(result["tests"]) for result in of)
        listed[kind].append(
            f"| {number} | {mutant['where']} | {mutant['function']} | `{statement}` | "
            f"{mutant['mutation']} at {mutant['position']} | {tests} |"
        )
    kinds = ["tried", "before", "after", "both", "only before", "only after", "neither"]
    print("| area |", " | ".join(kinds), "|")
    for area, count in counts.items():
        print(f"| {area} |", " | ".join(str(count[kind]) for kind in kinds), "|")
    for kind in kinds[4:]:
        print(f"\n{kind}\n", *listed[kind], sep="\n")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    verbs = {function.__name__: function for function in (cover, draw, run, compare)}
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    count = 2 if arguments.verb == "cover" else 4  # tests are relative to CHECKOUT
    paths = [path.resolve() for path in arguments.paths[:count]] + arguments.paths[count:]
    environment = paths[0] / ".venv"
    if arguments.verb in ("cover", "run"):
        if Path(sys.prefix) != environment:
            os.environ["OMP_NUM_THREADS"] = "1"
            python = str(environment / "bin" / "python")
            os.execv(python, [python, str(Path(__file__).resolve()), *sys.argv[1:]])
        os.chdir(paths[0])
    more = (arguments.seed, arguments.count) if arguments.verb == "draw" else ()
    verbs[arguments.verb](*paths, *more)


if __name__ == "__main__":
    main()
