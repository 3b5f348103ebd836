"""Which numbers a script seems to give, and where: files, TensorBoard, W&B, printed lines.

Every guess has the line that it rests on. What is computed (a name, a path) is left out.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from icckd.study.scripts.code import Code, Unread
from icckd.study.scripts.records import Guess, Source


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HIGHER = _words(
    "acc accuracy top1 top5 f1 auc auroc auprc ap map miou iou dice bleu rouge r2 score reward"
    " return returns precision recall psnr ssim"
)
LOWER = _words("loss error err nll ppl perplexity rmse mse mae wer cer fid ece kl elbo bpc brier")
STEPS = ("step", "global_step", "epoch", "iteration", "iter", "round")
_SETS = _words("train training val valid validation test eval dev")
NO_RESULT = _words(
    "lr seed time seconds sec eta memory mem params batch size epoch epochs step steps iteration"
    " iter round elapsed device learning rate charts sps fps"
    " consumed took data loading s ms it samples images total"
)
NUMBER = "[-+0-9.eE]+|nan|inf"
MAX_GUESSES = 16
MAX_SEEN = 1000
MAX_PLACES = 200
"""Numbers and paths of a kind that are looked at."""


def guesses(code: Code, *, has_folder: bool, logs: bool) -> tuple[Guess, ...]:
    """Return what a script seems to give, each number once, files before printed lines.

    Args:
        code: The script.
        has_folder: Whether the study gives it the run folder by an option.
        logs: Whether `run.log` and `run.summary` are those of icckd.
    """
    writes = _Writes(code, has_folder)
    found: dict[str, Guess] = {}
    readers = [writes.csv(), writes.json(), writes.tensorboard(), writes.lightning(),
               writes.wandb(), writes.printed()]  # fmt: skip
    if logs:
        readers = [writes.logged(), *readers]
    own = main_lines(code) if logs else range(0)
    for reader in readers:
        for guess in islice(reader, MAX_SEEN):
            name = metric_name(guess.name)
            if guess.source == "log" and name != guess.name:
                name = guess.name if re.match(r"[A-Za-z]", guess.name) else ""
            is_new = name and name not in found and guess.line not in own
            if is_new and len(found) < MAX_GUESSES:
                found[name] = replace(guess, name=name, direction=direction_of(name))
    return tuple(found.values())


def main_lines(code: Code) -> range:
    """Return the lines below `if __name__ == "__main__"`, which run in a script alone."""
    for node in code.tree.body:
        is_if = isinstance(node, ast.If) and isinstance(node.test, ast.Compare)
        if is_if and code.dotted(node.test.left) == "__name__":  # type: ignore[attr-defined]
            return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return range(0)


def words_of(name: str) -> list[str]:
    """Return the words of a name, in small letters.

    >>> words_of("val/Top-1_acc")
    ['val', 'top1', 'acc']
    """
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.split(r"[^a-z0-9]+", text.replace("top-", "top").strip(" _-/.@"))


def direction_of(name: str) -> str:
    """Return "higher" or "lower" where a name says which is better, else ""."""
    words = set(words_of(name))
    return "lower" if words & LOWER else "higher" if words & HIGHER else ""


def metric_name(key: str) -> str:
    """Return a column, key or tag as the name of a metric, "" for what is no result.

    >>> metric_name("val/Acc"), metric_name("epoch")
    ('val_acc', '')
    """
    name = re.sub(r"[^a-z0-9_]+", "_", key.lower()).strip("_")[:64]
    is_name = bool(re.match(r"[a-z]", name)) and not set(words_of(key)) - _SETS <= NO_RESULT
    return name if is_name else ""


def _step_among(keys: list[str]) -> str:
    return next((key for key in STEPS if key in keys), "")


@dataclass(frozen=True, slots=True)
class _Place:
    """A path in the text: what is known of it, and whether a folder before it is not."""

    path: str
    line: int
    is_open: bool


class _Writes:
    """What a script writes, by kind."""

    def __init__(self, code: Code, has_folder: bool) -> None:
        self.code = code
        self.has_folder = has_folder
        self._places: dict[tuple[str, ...], list[_Place]] = {}
        self._tables: dict[str, list[str]] = {}

    def _name_of(self, node: ast.AST) -> str:
        """Return the last name of what a call calls; "" for anything else."""
        func = node.func if isinstance(node, ast.Call) else None
        called = func.attr if isinstance(func, ast.Attribute) else self.code.called(node)
        return called.rpartition(".")[2]

    # Paths.

    def place(self, suffixes: tuple[str, ...], line: int) -> str:
        """Return the file with one of some suffixes that is written nearest to a line; "" if none.

        A file in a folder that is not known is looked for in all folders.
        """
        if suffixes not in self._places:
            self._places[suffixes] = list(islice(self._paths(suffixes), MAX_PLACES))
        found = self._places[suffixes]
        best = max(found, key=lambda each: (each.is_open, -abs(each.line - line)), default=None)
        return best.path if best is not None else ""

    def _paths(self, suffixes: tuple[str, ...]) -> Iterator[_Place]:
        for node in self.code.all(ast.expr):
            if isinstance(self.code.parents.get(node), ast.JoinedStr | ast.FormattedValue):
                continue
            path = self._path(node)
            if not path.endswith(suffixes) or path in suffixes or "\n" in path:
                continue
            use = self._use(node)
            if use is not None and not path.startswith(("/", "~")) and ".." not in path.split("/"):
                yield _Place(self._below(node, path), node.lineno, use)

    def _path(self, node: ast.AST) -> str:
        """Return a text as a pattern: what is computed in it may be anything."""
        if isinstance(node, ast.JoinedStr):
            parts = [each.value if isinstance(each, ast.Constant) else "*" for each in node.values]
            text = "".join(str(each) for each in parts)
            return re.sub(r"^\*/", "", text)
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return ""
        around = self.code.parents.get(node)
        is_right = isinstance(around, ast.BinOp) and around.right is node
        return node.value.lstrip("/") if is_right else node.value  # folder + "/metrics.csv"

    def _below(self, node: ast.AST, path: str) -> str:
        """Return a path with any folders before it, where one is not known and not given."""
        around = self.code.parents.get(node)
        is_joined = isinstance(around, ast.BinOp) or self.code.called(around).endswith("join")
        is_joined = is_joined or (
            isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.FormattedValue)
        )
        return f"**/{path}" if is_joined and not self.has_folder else path

    def _use(self, node: ast.AST) -> bool | None:
        """Whether a path is opened to write; None where it is read, False where neither is seen."""
        for around in self.code.around(node):
            if isinstance(around, ast.stmt):
                break
            called = self.code.called(around).split(".")[-1]
            if called in ("open", "fopen") and isinstance(around, ast.Call):
                return True if self._mode(around) else None
            if re.search(r"^(read_|load|genfromtxt|from_)|reader", called):
                return None
            if re.search(r"^(to_|write|dump|save|FileHandler|CSVLogger)", called):
                return True
            if called == "add_argument" and re.search(
                r"data|input|train|config", self.code.text_of(around)
            ):
                return None
        return False

    def _mode(self, call: ast.Call) -> bool:
        """Whether a call of `open` opens to write."""
        is_method = isinstance(call.func, ast.Attribute) and self.code.called(call) != "io.open"
        place = 0 if is_method else 1
        given = next((each.value for each in call.keywords if each.arg == "mode"), None)
        mode = given or (call.args[place] if len(call.args) > place else None)
        return isinstance(mode, ast.Constant) and bool(set(str(mode.value)) & set("wax+"))

    # Files of tables.

    def csv(self) -> Iterator[Guess]:
        """Yield the columns of tables that are written."""
        for line, columns in self._heads():
            place = self.place((".csv", ".tsv"), line)
            if place:
                yield from self._keys("csv", place, columns, line)

    def _heads(self) -> Iterator[tuple[int, list[str]]]:
        frames = any(
            isinstance(call.func, ast.Attribute) and call.func.attr == "to_csv"
            for call in self.code.all(ast.Call)
        )
        for call in self.code.all(ast.Call):
            name = self._name_of(call)
            first = call.args[0] if call.args else None
            if name == "writerow" and first is not None:
                yield call.lineno, self._texts(first) or self._dict_keys(first)
            elif name == "DictWriter":
                names = next((k.value for k in call.keywords if k.arg == "fieldnames"), None)
                names = names or (call.args[1] if len(call.args) > 1 else None)
                yield call.lineno, self._texts(names)
            elif name in ("write", "print") and first is not None:
                yield call.lineno, self._header_line(first)
            elif frames and name in ("append", "DataFrame") and first is not None:
                yield call.lineno, self._dict_keys(first)

    def _texts(self, node: ast.expr | None) -> list[str]:
        """Return a list of texts; empty for anything else."""
        try:
            values = self.code.value(node) if node is not None else None
        except Unread:
            return []
        listed = values if isinstance(values, list) else []
        return listed if all(isinstance(each, str) for each in listed) else []

    def _header_line(self, node: ast.expr) -> list[str]:
        text = node.value if isinstance(node, ast.Constant) else ""
        if not isinstance(text, str) or not re.fullmatch(r"\w[\w./ -]*(,\w[\w./ -]*)+\n?", text):
            return []
        return [each.strip() for each in text.split(",")]

    def _dict_keys(self, node: ast.expr | None, depth: int = 4) -> list[str]:
        """Return the keys of a table that stands in the text, those of tables in it with dots."""
        if depth == 0:
            return []
        if isinstance(node, ast.Name):
            if node.id not in self._tables:
                self._tables[node.id] = []  # a table inside itself
                self._tables[node.id] = self._filled(node.id)
            return self._tables[node.id]
        if self.code.called(node) == "dict" and isinstance(node, ast.Call):
            return [each.arg for each in node.keywords if each.arg]
        if not isinstance(node, ast.Dict):
            return []
        keys: list[str] = []
        for key, value in zip(node.keys, node.values, strict=True):
            name = "" if _is_no_number(value) else self.code.text(key)
            inner = self._dict_keys(value, depth - 1) if isinstance(value, ast.Dict) else []
            keys += [f"{name}.{each}" for each in inner] if inner else [name] if name else []
        return keys

    def _filled(self, name: str) -> list[str]:
        """Return the keys of the table that a variable gets, at once or one after the other."""
        keys: list[str] = []
        for node in self.code.all(ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    if not isinstance(node.value, ast.Name):
                        keys += self._dict_keys(node.value)
                elif isinstance(target, ast.Subscript) and self.code.dotted(target.value) == name:
                    keys.append("" if _is_no_number(node.value) else self.code.text(target.slice))
        return [key for key in dict.fromkeys(keys) if key]

    def _keys(self, source: Source, place: str, keys: list[str], line: int) -> Iterator[Guess]:
        step = _step_among(keys)
        for key in keys:
            if key != step:
                yield Guess(name=key, source=source, place=place, key=key, step=step, line=line)

    def json(self) -> Iterator[Guess]:
        """Yield the keys of JSON files, and of files with a JSON object a line."""
        for call in self.code.all(ast.Call):
            called = self.code.called(call)
            if called not in ("json.dump", "json.dumps", "orjson.dumps", "ujson.dumps"):
                continue
            keys = self._dict_keys(call.args[0] if call.args else None)
            kind = self._json_kind(call, called)
            if kind == "stdout":
                yield from self._printed_json(keys, call.lineno)
                continue
            suffixes = (".json",) if kind == "json" else (".jsonl", ".ndjson", ".json", ".log")
            place = self.place(suffixes, call.lineno) if kind else ""
            if place and kind:
                yield from self._keys(kind, place, keys, call.lineno)

    def _json_kind(self, call: ast.Call, called: str) -> Source | None:
        """Return how an object of JSON is written: one a file, one a line, or printed."""
        if called == "json.dump":
            return "json"
        around = self.code.parents.get(call)
        ends_line = isinstance(around, ast.BinOp)
        for outer in self.code.around(call):
            if isinstance(outer, ast.stmt):
                return None
            name = self._name_of(outer)
            if name == "print" and isinstance(outer, ast.Call):
                has_file = any(each.arg == "file" for each in outer.keywords)
                return "jsonl" if has_file else "stdout"
            if name == "write_text":
                return "json"
            if name == "write":
                return "jsonl" if ends_line or self.place((".jsonl", ".ndjson"), 0) else "json"
        return None

    def _printed_json(self, keys: list[str], line: int) -> Iterator[Guess]:
        for key in keys:
            pattern = f'"{re.escape(key.split(".")[-1])}": ({NUMBER})'
            yield Guess(name=key, source="stdout", place=pattern, line=line)

    # Trackers.

    def tensorboard(self) -> Iterator[Guess]:
        """Yield the tags of scalars that TensorBoard's writers get."""
        folder = ""
        for call in self.code.all(ast.Call):
            name = self._name_of(call)
            if name in ("SummaryWriter", "create_file_writer"):
                folder = folder or self._log_folder(call)
            if name == "add_scalar" or self.code.called(call).endswith("summary.scalar"):
                tag = self.code.text(call.args[0]) if call.args else ""
                if tag:
                    yield Guess(
                        name=tag, source="tensorboard", place=folder or "runs", key=tag,
                        line=call.lineno, unit=_unit(call.args[1:2]),
                    )  # fmt: skip

    def _log_folder(self, call: ast.Call) -> str:
        node = next((each.value for each in call.keywords if each.arg == "log_dir"), None)
        node = node or (call.args[0] if call.args else None)
        if node is None:
            return "runs"
        path = self.code.text(node)
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            path = str(node.values[0].value).rpartition("/")[0]
        if path and not path.startswith(("/", "~")) and ".." not in path.split("/"):
            return path
        return "."

    def lightning(self) -> Iterator[Guess]:
        """Yield what a module of Lightning logs, where a logger writes CSV or TensorBoard files."""
        if not self.code.packages & {"lightning", "pytorch_lightning"}:
            return
        is_csv = any(name.endswith("CSVLogger") for name in self.code.imported.values())
        source: Source = "csv" if is_csv else "tensorboard"
        place = "**/metrics.csv" if is_csv else "lightning_logs"
        for call in self.code.all(ast.Call):
            is_log = self.code.dotted(call.func) == "self.log" and call.args
            if key := self.code.text(call.args[0]) if is_log else "":
                yield Guess(
                    name=key, source=source, place=place, key=key, step="step", line=call.lineno
                )

    def wandb(self) -> Iterator[Guess]:
        """Yield the keys that W&B logs."""
        if "wandb" not in self.code.packages:
            return
        runs = {
            self.code.dotted(target)
            for node in self.code.all(ast.Assign)
            if self.code.called(node.value) == "wandb.init"
            for target in node.targets
        }
        for call in self.code.all(ast.Call):
            called = self.code.called(call)
            if called == "wandb.log" or called in {f"{run}.log" for run in runs if run}:
                for key in self._dict_keys(call.args[0] if call.args else None):
                    if key not in STEPS:
                        yield Guess(
                            name=key, source="wandb", place="wandb", key=key, line=call.lineno
                        )

    def logged(self) -> Iterator[Guess]:
        """Yield what `run.log` and `run.summary` get."""
        for call in self.code.all(ast.Call):
            if self.code.dotted(call.func) in ("run.log", "run.summary"):
                for each in call.keywords:
                    if each.arg not in (None, "step", "right"):
                        unit = _unit([each.value])
                        yield Guess(name=str(each.arg), source="log", line=call.lineno, unit=unit)
                    elif each.arg is None:
                        for key in self._dict_keys(each.value):
                            yield Guess(name=key, source="log", line=call.lineno)

    # Printed lines.

    def printed(self) -> Iterator[Guess]:
        """Yield the numbers that stand behind their name in printed lines."""
        for call in self.code.all(ast.Call):
            name = self._name_of(call)
            to_file = any(each.arg == "file" for each in call.keywords)
            if name not in _PRINTERS or not call.args or to_file:
                continue
            yield from _numbers_in(_pieces(call), call.args[0].lineno)


def _is_no_number(node: ast.expr) -> bool:
    """Whether a value is seen to be a text, a boolean or a table made by a function."""
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, int | float) or isinstance(node.value, bool)
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    return isinstance(node, ast.JoinedStr) or name in ("str", "vars", "asdict", "list", "dict")


_PRINTERS = ("print", "echo", "info", "warning", "write", "log")


@dataclass(frozen=True, slots=True)
class _Field:
    """A value within a printed text."""

    is_number: bool
    is_percent: bool


def _pieces(call: ast.Call) -> list[str | _Field]:
    """Return what a call prints, as texts and values in turn."""
    first, *more = call.args
    if isinstance(first, ast.BinOp) and isinstance(first.op, ast.Mod):
        return _percent_pieces(first.left)
    func = first.func if isinstance(first, ast.Call) else None
    if isinstance(func, ast.Attribute) and func.attr == "format":
        return _format_pieces(func.value)
    text = first.value if isinstance(first, ast.Constant) else ""
    if isinstance(text, str) and more and re.search(_PERCENT, text):
        return _percent_pieces(first)
    return _listed_pieces(call.args)


def _listed_pieces(arguments: list[ast.expr]) -> list[str | _Field]:
    found: list[str | _Field] = []
    for place, node in enumerate(arguments):
        if place:
            found.append(" ")
        if isinstance(node, ast.JoinedStr):
            found += [_piece(each) for each in node.values]
        elif isinstance(node, ast.Constant):
            found.append(str(node.value))
        else:
            found.append(_Field(_is_numeric(node), _is_hundredfold(node)))
    return found


def _piece(node: ast.expr) -> str | _Field:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if not isinstance(node, ast.FormattedValue):
        return _Field(False, False)
    spec = ""
    if isinstance(node.format_spec, ast.JoinedStr):
        parts = [each.value for each in node.format_spec.values if isinstance(each, ast.Constant)]
        spec = "".join(map(str, parts))
    is_number = bool(re.search(r"[0-9.][feEgG%]$", spec)) or _is_numeric(node.value)
    return _Field(is_number, spec.endswith("%") or _is_hundredfold(node.value))


def _is_numeric(node: ast.expr) -> bool:
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return is_call and node.func.id in ("round", "float")  # type: ignore[attr-defined]


def _unit(values: list[ast.expr]) -> str:
    return "%" if any(_is_hundredfold(value) for value in values) else ""


def _is_hundredfold(node: ast.expr) -> bool:
    return any(
        isinstance(each, ast.BinOp)
        and isinstance(each.op, ast.Mult)
        and any(isinstance(s, ast.Constant) and s.value == 100 for s in (each.left, each.right))
        for each in ast.walk(node)
    )


_PERCENT = r"%[-+0-9.]*([a-zA-Z])"


def _percent_pieces(node: ast.expr) -> list[str | _Field]:
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    found: list[str | _Field] = []
    for place, part in enumerate(re.split(_PERCENT, text)):
        found.append(_Field(part in "feEgG", False) if place % 2 else part.replace("%%", "%"))
    return found


def _format_pieces(node: ast.expr) -> list[str | _Field]:
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    found: list[str | _Field] = []
    for place, part in enumerate(re.split(r"\{([^{}]*)\}", text)):
        is_number = bool(re.search(r"[0-9.][feEgG%]$", part))
        found.append(_Field(is_number, part.endswith("%")) if place % 2 else part)
    return found


_NAME = re.compile(r"((?:[A-Za-z][\w@/-]* )?[A-Za-z][\w@/-]*)(\s*[=:]\s*|\s+)[\[(]?$")
_BEFORE = _words("train training val valid validation test eval dev best final mean avg")


def _numbers_in(pieces: list[str | _Field], line: int) -> Iterator[Guess]:
    """Yield the numbers of one printed text, each by a regular expression that takes it."""
    step, context = "", _opening(pieces)
    for place, piece in enumerate(pieces := _joined(pieces)):
        before = pieces[place - 1] if place else ""
        if not isinstance(piece, _Field) or not isinstance(before, str):
            continue
        _, line_end, last_line = before.rpartition("\n")
        if line_end:  # an expression sees one line
            step, before = "", last_line
        name = _name_before(before)
        if not name:
            continue
        written = before[before.rindex(name) :]
        if words_of(name)[-1] in STEPS:
            step = step or f"{_escaped(written)}(?P<step>[0-9]+)"
            continue
        known = bool(set(words_of(name)) & (HIGHER | LOWER))
        if not known and not piece.is_number:
            continue
        expression, shown = _escaped(written), _is_percent_at(pieces, place + 1)
        if _is_share(pieces[place + 1 :]):  # Accuracy: 9713/10000 (97%)
            expression, shown = rf"{expression}\S+\s*\(", True
        value = f"{expression}(?P<value>{NUMBER})" if step else f"{expression}({NUMBER})"
        yield Guess(
            name=f"{context} {name}" if not set(words_of(name)) & _SETS else name,
            source="stdout", place=f"{step}.*?{value}" if step else value, line=line,
            unit="%" if shown or piece.is_percent else "",
        )  # fmt: skip


def _joined(pieces: list[str | _Field]) -> list[str | _Field]:
    """Return pieces with texts that follow each other as one."""
    found: list[str | _Field] = []
    for piece in pieces:
        if isinstance(piece, str) and found and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def _opening(pieces: list[str | _Field]) -> str:
    """Return the set of data that a text begins with, as in "Test set: loss ..."; "" if none."""
    found = re.match(r"\W*([A-Za-z]+)", str(pieces[0]) if pieces else "")
    word = found[1].lower() if found is not None else ""
    return word if word in _SETS else ""


def _name_before(text: str) -> str:
    """Return the name that a text ends with before a value, "" where it does not."""
    named = _NAME.search(re.sub(r"\s+(?:is|was|of)(?=[\s:=]*[\[(]?$)", "", text))
    if named is None:
        return ""
    first, _, last = named[1].rpartition(" ")
    return named[1] if not first or first.lower() in _BEFORE else last


def _is_percent_at(pieces: list[str | _Field], place: int) -> bool:
    after = pieces[place] if place < len(pieces) else ""
    return isinstance(after, str) and after.lstrip().startswith("%")


def _is_share(pieces: list[str | _Field]) -> bool:
    """Whether a count is followed by its total and by the share in percent: `/{} ({:.0f}%)`."""
    if len(pieces) < 5:
        return False
    slash, total, opening, share, _ = pieces[:5]
    are_values = isinstance(total, _Field) and isinstance(share, _Field)
    is_share = slash == "/" and str(opening).strip() == "("
    return are_values and is_share and _is_percent_at(pieces, 4)


def _escaped(text: str) -> str:
    """Return a text as a regular expression, in which blanks before a number may be several."""
    tight = text.rstrip()
    ends = r"\s*" if tight != text or tight.endswith(("=", ":")) else ""
    return r"\b" + re.escape(tight).replace(r"\ ", " ") + ends
