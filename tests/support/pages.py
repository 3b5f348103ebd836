"""Ablation plans written by hand in the form of AblationBench's pages; none is a real one."""

from typing import Any

HEAD = """<style>
.trajectory-box h3 {{ color: #1a1a1a !important; }}
</style>

# by-hand/nobody/{name}

<div style="padding: 20px;" class="trajectory-box">
<h2 style="color: #1976d2;">🧠 Reasoning Trace</h2>

{trace}
</div>

<div style="padding: 20px;" class="trajectory-box">
<h2 style="color: #2e7d32;">📋 Ablation Plan</h2>

"""

TRACE = """Two parts of the loss were never taken out:

1. **the filter**, which keeps samples with a margin above δ
- **Cache** of earlier negatives
### Nothing here is an entry"""


def entry(name: str, part: str, action: str, items: Any = None, metrics: str = "accuracy") -> str:
    """Return one entry of a page; `items` are texts, None where the entry has no such field."""
    lines = [f"### {name}", f"- **Ablated Part**: {part}", f"- **Action**: {action}"]
    if items is not None:
        lines += ["- **Replacement**: ", *(f"  - {item}" for item in items)]
    return "\n".join([*lines, f"- **Metrics**: {metrics}", ""])


def page(*entries: str, name: str = "A_Paper", trace: str = TRACE) -> str:
    """Return a page with these entries; as found, its last line has no end."""
    return HEAD.format(name=name, trace=trace) + "\n".join(entries) + "\n</div>"


SEED = page(
    entry(
        "Without the margin filter",
        "Margin filter (δ) that picks the anchors of the intra-class loss",
        "REMOVE",
        metrics="Top-1 Accuracy, Convergence Speed, Training Stability (loss variance)",
    ),
    entry(
        "Without the pipeline cache",
        "Pipeline-based caching of negatives",
        "REMOVE",
        metrics="Top-1 Accuracy, Convergence Speed, GPU memory usage",
    ),
    name="Seed",
)
"""The two removals of the seed, in words of our own."""


def misread(text: str, codec: str = "mac_roman") -> bytes:
    """Return a text whose UTF-8 was read in another encoding, and saved as UTF-8 again."""
    return text.encode().decode(codec).encode()
