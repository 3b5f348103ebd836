"""A small search engine over made-up documents: BM25, whose parts can be switched off.

`rank` reports one row a query; `python search.py` does the same into items.csv.
"""

import argparse
import csv
import json
import math
import random
from collections import Counter

TOPICS = 12
WORDS = 30
COMMON = 40


def corpus(documents, queries):
    """Return documents and queries, the same for every seed: (id, topic, words)."""
    draw = random.Random(11)
    made = {"d": [], "q": []}
    for kind, count, length in (("d", documents, (20, 120)), ("q", queries, (3, 6))):
        for number in range(count):
            topic = number % TOPICS
            words = [
                f"t{topic}w{int(draw.triangular(0, WORDS, 0))}"
                if draw.random() < (0.5 if kind == "q" else 0.2)
                else f"c{int(draw.triangular(0, COMMON, 0))}"
                for _ in range(draw.randint(*length))
            ]
            made[kind].append((f"{kind}{number:03d}", topic, words))
    return made["d"], made["q"]


def answers(config, seed, documents=96, queries=72):
    """Yield query, topic, reciprocal rank of the first document of the topic, whether it is first.

    The seed decides which words the index loses.
    """
    found, asked = corpus(documents, queries)
    draw = random.Random(seed)
    index = [(topic, Counter(w for w in words if draw.random() < 0.7)) for _, topic, words in found]
    sizes = [sum(counts.values()) for _, counts in index]
    mean = sum(sizes) / len(sizes)
    seen = Counter(word for _, counts in index for word in counts)
    for name, topic, words in asked:
        scores = []
        for (of, counts), size in zip(index, sizes, strict=True):
            score = 0.0
            for word in words:
                rare = math.log(1 + len(index) / (1 + seen[word])) if config["idf"] else 1.0
                norm = 0.25 + 0.75 * size / mean if config["norm"] else 1.0
                score += rare * counts[word] * 2.5 / (counts[word] + 1.5 * norm)
            scores.append((-score, draw.random(), of))
        order = [of for _, _, of in sorted(scores)]
        yield name, topic, 1 / (1 + order.index(topic)), order[0] == topic


def rank(config, run):
    """Report every query."""
    for name, topic, reciprocal, first in answers(config, run.seed, queries=config.queries):
        run.item(name, group=f"topic {topic}", reciprocal=reciprocal, first=first)


def main():
    """Write items.csv into the current folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    with open(given.config) as file:
        config = json.load(file)
    with open("items.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query", "topic", "reciprocal", "first"])
        rows.writerows(answers(config, given.seed, queries=config["queries"]))


if __name__ == "__main__":
    main()
