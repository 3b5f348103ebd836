"""All studies of a state folder at a glance: dates, states, verdicts."""

from collections import Counter
from dataclasses import dataclass

from icckd.results.query import Results
from icckd.results.store import Store
from icckd.results.types import SessionStatus, StateCounts, StudyInfo

_TRIALS = """
select study, revision, state, count(*)
from every_trial
group by all
"""
_SESSIONS = """
select
    newest.study, live_session.session is not null as is_live, session_end.session is not null
from (
    select study, arg_max(session, (ordinal, started, session)) as session
    from session
    group by study
) as newest
left join live_session using (session)
left join session_end using (session)
"""
_LAST = """
select session.study, max(journal.newest)
from session
inner join journal on journal.source = 'session' and journal.name = session.session
group by session.study
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A study at a glance.

    Attributes:
        study: Its newest revision, which was planned last.
        reported: The revision that reports show, and verdicts are of.
        trials: States of the trials of the newest revision.
        session: Whether its newest session runs.
        last_run: When a session of it spoke last, Unix seconds.
        verdicts: How many of its primary questions have which verdict; those that wait for seeds
            are undecided.
    """

    study: StudyInfo
    reported: StudyInfo
    trials: StateCounts
    session: SessionStatus
    last_run: float
    verdicts: dict[str, int]


def read_overviews(results: Results, store: Store) -> tuple[Overview, ...]:
    """Return every study at a glance, the one planned last first."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for study, revision, state, trials in store.select(_TRIALS):
        counts.setdefault((study, revision), {})[state] = trials
    live = {name: (is_live, ended) for name, is_live, ended in store.select(_SESSIONS)}
    last = dict(store.select(_LAST))
    found = []
    for study in results.studies():
        reported = results.reported(study.name)
        is_live, has_ended = live.get(study.name, (False, False))
        found.append(
            Overview(
                study=study,
                reported=reported,
                trials=StateCounts(**counts.get(study.key, {})),
                session="live" if is_live else "ended" if has_ended else "interrupted",
                last_run=last.get(study.name, study.planned_at),
                verdicts=_verdicts(results, reported),
            )
        )
    return tuple(found)


def _verdicts(results: Results, study: StudyInfo) -> dict[str, int]:
    """Return how many primary questions have which verdict."""
    asked = {(each.arm, each.metric) for each in study.questions}
    if not asked:
        return {}
    if not study.complete:
        return {"undecided": len(asked)}
    rows = {(row.arm, row.metric): row.verdict for row in results.comparisons(study)}
    return dict(Counter(rows.get(each) or "undecided" for each in sorted(asked)))
