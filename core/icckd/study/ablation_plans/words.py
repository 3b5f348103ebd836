"""How well the words of a plan name a part: aliases found in a sentence, with a score."""

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η":
    "eta", "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ":
    "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi", "ψ": "psi",
    "ω": "omega",
}  # fmt: skip
_SPLIT = re.compile(r"[a-z0-9]+|[,;:.!?/]")
_BOUNDARIES = frozenset((
    ",", ";", ":", ".", "!", "?", "/", "in", "that", "which", "used", "uses", "using", "with",
    "by", "on", "at", "during", "to", "from", "into", "when", "where", "over", "applied", "and",
    "or",
))  # fmt: skip
"""What ends the part that a phrase is about: behind it stands what is told of it."""
_NOISE = frozenset((
    "a", "an", "the", "its", "our", "their", "this", "as", "is", "are", "be", "it",
    "s", "ablation", "ablate", "ablating", "study", "remove", "removal", "removing", "replace",
    "replacing", "vary", "varying", "effect", "impact", "sensitivity", "analysis", "without",
    "based", "mechanism", "module", "component", "components", "strategy", "technique",
    "approach", "integration", "scheme", "usage", "use", "method", "methods", "process", "branch",
    "part", "setting", "settings", "hyperparameter", "hyperparameters", "proposed", "different",
    "various",
))  # fmt: skip
_OF, OF = frozenset(("of", "for")), "|"
"""Words that join a part with what it is a part of, and what stands for them among stems."""
_SYMBOLS = frozenset(_GREEK.values())
_BEHIND = 0.2
"""What a word behind the first boundary counts of one before it."""
HEAD, WHOLE, CONTEXT, SINGLE = 0.55, 0.4, 0.2, 0.35
"""Where scores begin: a phrase at the head, one that names what the part is of, one in what is told
of it, and one word of a path."""
SURE, AHEAD = 0.6, 0.1
"""A part is bound to a score of so much, so much ahead of any other."""
BETTER = 0.03
"""A part that is named so much better, and whose values the items are not, forbids another one."""
NAME_COUNTS = 0.9


@functools.lru_cache(maxsize=8192)
def segments(text: str) -> tuple[tuple[str, ...], ...]:
    """Return the stems of a sentence, in pieces between what separates a part from its context.

    >>> segments("Pipeline-based caching mechanism used to collect negatives")
    (('pipelin', 'cach'), ('collect', 'negativ'))
    >>> segments("Margin threshold (δ)")
    (('margin', 'threshold', 'delta'),)
    >>> segments("weight of the loss")
    (('weight', '|', 'loss'),)
    """
    plain = unicodedata.normalize("NFKD", text[:2000]).casefold()
    plain = "".join(f" {_GREEK[c]} " if c in _GREEK else c for c in plain)
    found: list[list[str]] = [[]]
    for word in _SPLIT.findall(plain):
        if word in _BOUNDARIES:
            if found[-1]:
                found.append([])
        elif word in _OF:
            found[-1] += [OF] if found[-1] else []
        elif word not in _NOISE:
            found[-1].append(_stem(word))
    return tuple(tuple(piece) for piece in found if piece)


def _stem(word: str) -> str:
    """Return a word without the endings that tell its forms apart."""
    if word in _SYMBOLS or len(word) <= 3:
        return word
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def stems(text: str) -> tuple[str, ...]:
    """Return all stems of a text in their order."""
    return tuple(stem for piece in segments(text) for stem in piece if stem != OF)


@dataclass(frozen=True, slots=True)
class Alias:
    """What a part is called; `is_own` tells a declared name from the words of its path."""

    text: str
    stems: frozenset[str]
    is_own: bool


class Lexicon:
    """Aliases of many things, found in texts.

    Args:
        aliases: By thing: texts, and whether each was declared.
    """

    def __init__(self, aliases: Mapping[str, Iterable[tuple[str, bool]]]) -> None:
        self._by_stem: dict[str, list[tuple[str, Alias]]] = {}
        for thing, texts in aliases.items():
            for text, is_own in texts:
                own = frozenset(stems(text))
                if own:
                    longest = max(sorted(own), key=len)
                    self._by_stem.setdefault(longest, []).append((thing, Alias(text, own, is_own)))

    def named_in(self, text: str) -> dict[str, tuple[float, str]]:
        """Return the things that a text may name: a score up to 1, and the alias behind it."""
        pieces = segments(text)
        counts = [len(set(piece) - {OF}) for piece in pieces]
        total = sum(count * (1.0 if n == 0 else _BEHIND) for n, count in enumerate(counts))
        found: dict[str, list[tuple[int, Alias]]] = {}
        for place, piece in enumerate(pieces):
            first = piece[: piece.index(OF)] if OF in piece and place == 0 else piece
            bare = tuple(stem for stem in piece if stem != OF)
            for thing, alias in self._in_piece(bare):
                is_behind_of = place == 0 and not alias.stems & frozenset(first)
                found.setdefault(thing, []).append((-1 if is_behind_of else place, alias))
        return {thing: _score(hits, total) for thing, hits in found.items()}

    def _in_piece(self, piece: Sequence[str]) -> Iterator[tuple[str, Alias]]:
        known = frozenset(piece)
        for stem in known:
            for thing, alias in self._by_stem.get(stem, ()):
                if alias.stems <= known and _stand_together(piece, alias.stems):
                    yield thing, alias


def _stand_together(piece: Sequence[str], wanted: frozenset[str]) -> bool:
    """Whether words stand in a piece with at most one other between them."""
    places = [place for place, stem in enumerate(piece) if stem in wanted]
    width = len(wanted) + 1
    return any(
        {piece[p] for p in places if start <= p < start + width} >= wanted for start in places
    )


def _score(hits: Sequence[tuple[int, Alias]], total: float) -> tuple[float, str]:
    """Return how well aliases that were found name a thing, and the best of them.

    A hit has its piece: 0 is the first, -1 what stands behind "of" in it. A symbol alone names
    nothing: every paper has a lambda.
    """
    best, words = 0.0, ""
    for place, alias in hits:
        is_symbol = alias.stems <= _SYMBOLS
        others = (each.stems for at, each in hits if at == place)
        covered = len(frozenset().union(*others)) * (1.0 if place < 1 else _BEHIND)
        share = min(1.0, covered / total) if total else 0.0
        is_single = not alias.is_own and len(alias.stems) == 1
        start = SINGLE if is_single or is_symbol else WHOLE if place < 0 else HEAD
        start = CONTEXT if place > 0 else start
        more = 0.05 * min(len(alias.stems) - 1, 3)
        score = min(1.0, start + (0.4 if place < 1 else 0.2) * share + more)
        score = min(score, 0.5) if is_symbol else score
        if score > best:
            best, words = score, alias.text
    return best, words
