"""A table of kills: `ICCKD_KILLS_LOG=LOG .ci/long cluster`, then `python bench/kills.py LOG`.

The tests `tests/cluster/test_*_kills.py` draw victims and moments from a seed, check each run, and
write a line of JSON for each kill into the log (`tests/cluster/kills.py`).
"""

import json
import sys
from collections import Counter
from pathlib import Path

from timing import write_result


def main() -> None:
    """Read the log and write the result."""
    told = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    kills = [each for each in told if "victim" in each]
    totals = {each["where"]: each["totals"] for each in told if "totals" in each}
    sites = list(totals)
    count = Counter((each["victim"], each["where"]) for each in kills)
    victims = sorted({each["victim"] for each in kills})
    lines = [
        f"{len(kills)} kills by signal 9, at moments and of victims drawn from"
        " a seed, amid runs of three teachers and three students (840 epochs). After each run its"
        " artifacts and outcomes were equal to those of a quiet run on one machine, each stage was"
        " complete once, `icckd fsck` said whole; a test fails otherwise.",
        "",
        f"| victim | {' | '.join(sites)} | in all |",
        f"| --- {'| --- ' * len(sites)}| --- |",
        *(
            f"| {victim} | {' | '.join(str(count[victim, site]) for site in sites)} |"
            f" {sum(count[victim, site] for site in sites)} |"
            for victim in victims
        ),
        f"| all | {' | '.join(str(sum(count[v, s] for v in victims)) for s in sites)} |"
        f" {len(kills)} |",
        "",
        "| | " + " | ".join(sites) + " |",
        f"| --- {'| --- ' * len(sites)}|",
    ]
    for key, words in (
        ("runs", "runs"),
        ("rows", "rows of epochs acknowledged before a kill"),
        ("lost", "of them lost or changed"),
        ("doubled", "rows doubled"),
        ("executed_again", "complete stages executed again"),
    ):
        values = (f"{totals[site].get(key, 0):,}" for site in sites)
        lines.append(f"| {words} | {' | '.join(values)} |")
    lines += [
        "",
        "What each run did until the next kill, or its end:",
        "",
        "| where | run | second | epochs so far | victim | then |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {each['where']} | {each['run']} | {each['second']:.1f} | {each['epochs']} |"
            f" {each['victim']} | {each['did'] or 'went on'} |"
            for each in kills
        ),
    ]
    write_result("kills", lines)


if __name__ == "__main__":
    main()
