"""Small studies, as TOML."""

TWO_STAGES = """
[study]
name = "s"
baseline = "full"
seeds = { count = 1 }
[teacher.intra]
[teacher.training]
epochs = 2
[student.training]
epochs = 2
[[arm]]
name = "full"
"""
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

BY_ITSELF = '\n[numerics]\npacking = "off"\n'
"""Ends a study whose stages are to be trained one after the other."""
