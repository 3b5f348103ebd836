"""Sections that every format shares, as plain cells: verdicts, effects."""

from icckd.report.cells import interval_text, p_text, scale_of
from icckd.report.notes import verdict_text
from icckd.report.text import display
from icckd.results.read import Results
from icckd.results.types import StudyInfo

Cells = list[list[str]]


def verdicts(results: Results, study: StudyInfo) -> Cells:
    """Return a heading and a row for each arm of the family; nothing where none is judged."""
    rows = {row.arm: row for row in results.comparisons(study) if row.metric == study.primary}
    judged = [arm for arm in study.arms if arm.name in study.family]
    if not judged:
        return []
    head = ["arm", "verdict", "d_z", "p", "Holm p"]
    checks = not study.is_sequential
    cells = [[*head, "exact p", "TOST p"] if checks else head]
    for arm in judged:
        row = rows[arm.name]
        effect = "-" if row.effect_size is None else f"{row.effect_size:+.2f}"
        line = [display(arm.name), verdict_text(row), effect, p_text(row.p), p_text(row.p_adjusted)]
        extra = [p_text(row.p_exact), p_text(row.p_equivalence)]
        cells.append([*line, *extra] if checks else line)
    return cells


def effects(results: Results, study: StudyInfo) -> Cells:
    """Return a heading and a row for each effect of a factorial design; nothing for others."""
    found = results.effects(study)
    if not found:
        return []
    scale = scale_of([row for row in results.comparisons(study) if row.metric == study.primary])
    unit = f" ({scale.unit})" if scale.unit else ""
    cells = [["effect", f"difference{unit}", "n", "p", "Holm p"]]
    for effect in found:
        cells.append(
            [
                display(effect.name),
                interval_text((effect.mean, effect.low, effect.high), scale) or "-",
                str(effect.n),
                p_text(effect.p),
                p_text(effect.p_adjusted),
            ]
        )
    return cells
