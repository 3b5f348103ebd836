"""Answers for programs that read a state folder and change nothing: bounded, in the types of JSON.

Whoever asks may be a language model that acts on what it reads, and names in journals are
untrusted: texts are one line each and have no control characters. An answer that would be too long
loses the ends of its lists and says how much was left out.
"""

import io
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any

from icckd.api.study import puller_of
from icckd.errors import UsageError
from icckd.journal.folder import StateFolder
from icckd.report.document import build_document
from icckd.report.records import write_json
from icckd.report.text import display
from icckd.results.query import Results, open_results
from icckd.results.sandbox import Fence
from icckd.results.types import StudyInfo
from icckd.results.values import plain, strict
from icckd.study.paths import nearest

ANSWER_BYTES = 200_000
TEXT_LENGTH = 2000
SQL_ROWS = 1000


class Reader:
    """Answers about the studies of one state folder, always with what its journals hold now.

    What machines share is read before, every few seconds at most, if storage is configured. Threads
    may share it. The folder need not exist yet.
    """

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._puller = puller_of(folder)
        self._fence = Fence(folder.root)
        self._results: Results | None = None
        self._lock = threading.Lock()

    def studies(self) -> dict[str, Any]:
        """Return the newest revision of each study, the one planned last first."""
        with self._lock:
            results = self._read()
            found = [
                {**_head(study), "state": asdict(results.progress(study).trials)}
                for study in results.studies()
            ]
        return bounded({"studies": found}, ["studies"])

    def plan(self, study: str | None = None, revision: str | None = None) -> dict[str, Any]:
        """Return what a study planned, and where it stands: arms, questions, seeds, trials.

        Raises:
            UsageError: There is no such study or revision; so for every answer about one.
        """
        with self._lock:
            results = self._read()
            info = _find(results, study, revision)
            progress = results.progress(info)
            content = {
                **_head(info),
                "metrics": list(info.metrics),
                "smallest_effect": info.smallest_effect,
                "arms": [asdict(arm) for arm in info.arms],
                "questions": [asdict(question) for question in info.questions],
                "progress": asdict(progress),
                "trials": [
                    {
                        "arm": row.arm,
                        "seed": row.seed,
                        "state": row.state,
                        "stage": row.stage,
                        "epoch": row.epoch,
                        "epochs": row.epochs,
                        "reason": row.reason,
                    }
                    for row in results.trials(info)
                ],
            }
        return bounded(content, ["trials", "arms", "questions"])

    def comparison(self, study: str | None = None, revision: str | None = None) -> dict[str, Any]:
        """Return the report: answers, verdicts, every comparison, warnings, notes."""
        with self._lock:
            results = self._read()
            out = io.StringIO()
            write_json(build_document(results, _find(results, study, revision)), out)
        lists = ["comparisons", "notes", "arms", "effects", "answers", "warnings", "incomplete"]
        return bounded(json.loads(out.getvalue()), lists)

    def outcomes(
        self,
        study: str | None = None,
        revision: str | None = None,
        metric: str | None = None,
        arm: str | None = None,
    ) -> dict[str, Any]:
        """Return the values behind the comparisons: one for each metric, arm and seed.

        Args:
            study: The study; None means the one planned last.
            revision: Its revision; None means the one that reports show.
            metric: Only this one; None means the columns of the study.
            arm: Only this one.

        Raises:
            UsageError: Something named is not there.
        """
        with self._lock:
            results = self._read()
            info = _find(results, study, revision)
            found = results.outcomes(info)
            metrics = list(info.metrics) if metric is None else [_known(metric, found, "outcome")]
            arms = [each.name for each in info.arms]
            wanted = arms if arm is None else [_known(arm, arms, "arm")]
            rows = [
                {"metric": name, "arm": each, "seed": seed, "value": value}
                for name in metrics
                for each in wanted
                for seed, value in sorted(found.get(name, {}).get(each, {}).items())
            ]
            units = {name: info.metric(name).unit for name in metrics}
        return bounded({**_head(info), "units": units, "outcomes": rows}, ["outcomes"])

    def sql(self, statement: str, rows: int = 200) -> dict[str, Any]:
        """Return the answer to one reading statement, asked behind the fence of `icckd sql`.

        Args:
            statement: The statement.
            rows: How many rows at most, up to `SQL_ROWS`.

        Raises:
            UsageError: It is not one reading statement, or takes too much.
        """
        if not 1 <= rows <= SQL_ROWS:
            raise UsageError(f"rows = {rows} is not from 1 to {SQL_ROWS}", hint="add a limit")
        with self._lock:
            self._read()
            table, is_cut = self._fence.ask(statement, rows=rows)
        content = {
            "columns": list(table.columns),
            "rows": [list(row) for row in table.rows],
            "is_cut": is_cut,
        }
        return bounded(content, ["rows"])

    def close(self) -> None:
        """End the process that answers SQL, and release the results."""
        with self._lock:
            self._fence.close()
            if self._results is not None:
                self._results.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> Results:
        """Return the results with what is new; the next SQL sees that, too."""
        if self._puller is not None:
            self._puller.pull_if_old()  # where storage does not answer, what is here is answered
        if not self._folder.exists():
            raise UsageError(
                f"there is no study in {self._folder.root}", hint="icckd run STUDY starts one"
            )
        if self._results is None:
            self._results = open_results(self._folder)
        elif self._results.refresh():
            self._fence.close()
        return self._results


def _find(results: Results, study: str | None, revision: str | None) -> StudyInfo:
    return results.reported(study) if revision is None else results.revision(study, revision)


def _known(name: str, known: Sequence[str] | Mapping[str, object], what: str) -> str:
    if name not in known:
        raise UsageError(f"there is no {what} {name!r}", hint=nearest(name, list(known)))
    return name


def _head(study: StudyInfo) -> dict[str, Any]:
    return {
        "study": study.name,
        "revision": study.revision,
        "is_newest": study.is_newest,
        "is_complete": study.is_complete,
        "question": study.question,
        "baseline": study.baseline,
        "primary": study.primary,
        "seeds": list(study.seeds),
        "planned": study.planned_at,
    }


# What keeps an answer short and harmless.


def bounded(content: Mapping[str, Any], lists: Sequence[str]) -> dict[str, Any]:
    """Return an answer of `ANSWER_BYTES` as JSON at most.

    Args:
        content: The answer.
        lists: Its parts that may lose their ends, those to shorten first first; `left_out` says how
            many entries each lost.

    Raises:
        UsageError: It is too long without them.
    """
    found: dict[str, Any] = harmless(content)
    whole = {name: len(found[name]) for name in lists if name in found}
    for name in whole:
        while len(found[name]) and _size(found) > ANSWER_BYTES:
            kept = len(found[name]) // 2
            found[name] = found[name][:kept]
            found.setdefault("left_out", {})[name] = whole[name] - kept
    if _size(found) > ANSWER_BYTES:
        raise UsageError(
            f"the answer is longer than {ANSWER_BYTES:,} bytes", hint="ask for less of it by SQL"
        )
    return found


def harmless(value: Any) -> Any:
    r"""Return a value in the types of JSON, its texts as one line each without control characters.

    >>> harmless({"a": ["x\n", float("inf")]})
    {'a': ['x ', 'inf']}
    """
    return _shown(strict(plain(value)))


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return display(value, TEXT_LENGTH)
    if isinstance(value, dict):
        return {display(key, TEXT_LENGTH): _shown(inner) for key, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


def _size(content: Mapping[str, Any]) -> int:
    return len(json.dumps(content, ensure_ascii=False).encode())
