"""Small studies, as TOML."""


def two_stages(name: str = "s", *, seeds: int = 1, teacher: int = 2, student: int = 2) -> str:
    """Return a study of one arm, a teacher and its student, with so many seeds and epochs."""
    return f"""
[study]
name = "{name}"
baseline = "full"
seeds = {{ count = {seeds} }}
[teacher.intra]
[teacher.training]
epochs = {teacher}
[student.training]
epochs = {student}
[[arm]]
name = "full"
"""


TWO_STAGES = two_stages()
"""A teacher and its student."""

SMALL = """
[study]
name = "small"
question = "Does the cache matter?"
baseline = "full"
metrics = ["teacher.top1", "student.convergence", "teacher.cache_bytes"]
seeds = { count = 2 }
[teacher.intra]
[teacher.training]
epochs = 2
[student.training]
epochs = 2
[[arm]]
name = "full"
[[ablation]]
name = "Remove the cache"
arm = "no-cache"
part = "teacher.intra.cache"
action = "REMOVE"
metrics = ["student.top1"]
"""
"""A baseline and one ablation, two seeds: eight stages."""

ONE_ARM = SMALL[: SMALL.index("[[ablation]]")]
"""The baseline of the small study, two seeds: four stages."""

FEW_IMAGES = '[data]\nkind = "digits"\ntrain = 64\nvalidation = 50\n'
"""Follows a study whose epochs are to take some milliseconds."""

BY_ITSELF = '\n[numerics]\npacking = "off"\n'
"""Ends a study whose stages are to be trained one after the other."""
