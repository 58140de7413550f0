"""The tables of `anynet`: every network and method, and torch_gbp beside the best rival of each network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import mean
from typing import NamedTuple

from benchmarks import anynet
from benchmarks.markdown import ACCURACY, ECE, NLL, Column, Line, cell, crossed, distinct, grid, number, passes
from benchmarks.results import Row, estimate, matching

SWEEPS = {"gbp": "means", "gbp_moments": "moments"}
AT_BEST = "{}, temperature"  # as every rival has one


class Score(NamedTuple):
    """A score, what a rival's rows call it after a held-out temperature, its sign where more is better, and how it is written."""

    title: str
    key: str
    tempered: str
    sign: float = -1.0
    digits: int = 4
    scale: float = 1.0
    unit: str = ""

    def told(self, rows: list[Row]) -> str:
        """Mean and standard error."""
        return number(rows, self.key, self.digits, self.scale, unit=self.unit)


SCORES = [
    Score("NLL", "nll", "nll_tempered"),
    Score("accuracy", "accuracy", "accuracy", 1.0, 2, 100, " %"),
    Score("ECE", "ece", "ece_tempered"),
]
DEAREST = 1.3  # times AdamW's step


def any_network(rows: list[Row]) -> str:
    """Every network and method, in the order of the cases."""
    lines = [
        Line([title, told], own | {"method": method}) for title, own in _cases(rows) for method, told in anynet.TITLES.items()
    ]
    columns = [
        Column("accuracy", ACCURACY),
        Column("NLL", NLL),
        Column("ECE", ECE),
        Column("NLL with a held-out temperature", cell("nll_tempered")),
        Column("ECE with it", cell("ece_tempered")),
        Column("step", cell("step_seconds", 1, 1e3, " ms", spread=False)),
        Column("step / AdamW's", cell("step_ratio", 2, unit="x", spread=False)),
    ]
    return crossed(rows, ["network", "method"], lines, columns)


def _cases(rows: list[Row]) -> list[tuple[str, Row]]:
    """Titles, and what their rows have in common."""
    names = list(anynet.CASES)
    found = sorted(distinct(rows, "net", "limit", "epochs"), key=lambda case: (names.index(case[0]), *case[1:]))
    return [(_title(*case), dict(zip(("net", "limit", "epochs"), case, strict=True))) for case in found]


def _title(net: str, limit: int, epochs: int) -> str:
    case = anynet.CASES[net]
    return f"{case.net.title}; {case.data}; {limit:,} examples, {passes(epochs)}"


class Comparison(NamedTuple):
    """A sweep beside the rival of the best NLL on one network.

    Args:
        case: what the network's rows have in common.
        parts: of each score, ours, the rival's and the word for their difference.
        ratio: of a step to AdamW's; NaN if no row tells it.
    """

    case: Row
    sweep: str
    rival: str
    parts: list[tuple[str, str, str]]
    ratio: float

    @property
    def words(self) -> list[str]:
        """The word for each score."""
        return [part[-1] for part in self.parts]

    @property
    def step(self) -> str:
        """The ratio as it is written."""
        return "-" if math.isnan(self.ratio) else f"{self.ratio:.2f}x"


def verdicts(rows: list[Row]) -> str:
    """Both sweeps of torch_gbp, as they come and at a temperature, beside the rival of the best NLL, with one or without.

    And on how many networks they are what. Level: they differ by no more than the standard error of their difference.
    """
    found = list(_compared(rows))
    lines = [
        [_title(**one.case), one.sweep, one.rival, *(cell for part in one.parts for cell in part), one.step] for one in found
    ]
    headings = [f"{score.title}{what}" for score in SCORES for what in ("", " of the rival", ": torch_gbp is")]
    return grid(["network", "sweep", "best rival", *headings, "step / AdamW's"], lines) + "\n" + _summed(found)


def verdicts_of_means(rows: list[Row]) -> str:
    """The means sweep's lines of `verdicts` in short: the NLL of both, and the words."""
    found = [one for one in _compared(rows) if one.sweep == SWEEPS["gbp"]]
    lines = [[_short_title(**one.case), _pair(*one.parts[0][:2]), *one.words, one.step] for one in found]
    return grid(["network, examples x passes", "NLL / rival's", *(score.title for score in SCORES), "step"], lines)


def _pair(ours: str, theirs: str) -> str:
    """Both numbers without their errors."""
    return " / ".join(told.split(" ± ")[0] for told in (ours, theirs))


def _short_title(net: str, limit: int, epochs: int) -> str:
    case = anynet.CASES[net]
    return f"{case.net.title}, {case.data}, {limit:,} x {epochs}"


def _compared(rows: list[Row]) -> Iterator[Comparison]:
    """Every network and sweep that has a rival."""
    for _, own in _cases(rows):
        case = matching(rows, **own)
        rivals = _rivals(case)
        for sweep, found in _both_ways(case, SWEEPS).items() if rivals else ():
            best = min(rivals, key=lambda name: mean(row["nll"] for row in rivals[name]))
            ratio = estimate(found, "step_ratio")
            parts = [_against(score, found, rivals[best]) for score in SCORES]
            yield Comparison(own, sweep, best, parts, ratio.mean if ratio else math.nan)


def _rivals(case: list[Row]) -> dict[str, list[Row]]:
    titles = {method: title for method, title in anynet.TITLES.items() if method not in anynet.OURS}
    return _both_ways(case, {method: title.replace(anynet.LIKE_OURS, "averaged") for method, title in titles.items()})


def _both_ways(case: list[Row], titles: Mapping[str, str]) -> dict[str, list[Row]]:
    """The rows of every method by its title, and once more at the held-out temperature, where one was fitted."""
    found: dict[str, list[Row]] = {}
    for method, title in titles.items():
        if own := matching(case, method=method):
            found[title] = own
        if own and all("temperature" in row for row in own):
            found[AT_BEST.format(title)] = [row | {score.key: row[score.tempered] for score in SCORES} for row in own]
    return found


def _against(score: Score, ours: list[Row], theirs: list[Row]) -> tuple[str, str, str]:
    """Both scores, and the verdict."""
    own, other = estimate(ours, score.key), estimate(theirs, score.key)
    assert own is not None and other is not None
    error = math.hypot(*(0.0 if math.isnan(found.error) else found.error for found in (own, other)))
    return score.told(ours), score.told(theirs), verdict(own.mean, other.mean, error, score.sign)


def verdict(ours: float, theirs: float, error: float, sign: float) -> str:
    """The word for a difference.

    >>> verdict(0.1, 0.2, 0.01, -1.0), verdict(0.1, 0.2, 0.15, -1.0), verdict(0.1, 0.2, 0.01, 1.0)
    ('better', 'level', 'behind')
    """
    gain = sign * (ours - theirs)
    return "level" if abs(gain) <= error else "better" if gain > 0 else "behind"


def _summed(found: list[Comparison]) -> str:
    """How often torch_gbp is what: by the means sweep everywhere, and by the moment sweep where there is one."""
    means, tempered, moments = (
        [one for one in found if one.sweep == sweep]
        for sweep in (SWEEPS["gbp"], AT_BEST.format(SWEEPS["gbp"]), SWEEPS["gbp_moments"])
    )
    there = [one.case for one in moments]
    ways = {
        "means sweep": means,
        "means sweep, at a held-out temperature as its rivals": tempered,
        "moment sweep where it was run, else means": moments + [one for one in means if one.case not in there],
    }
    ways = {title: own for title, own in ways.items() if own}
    counts = [_counts(own) for own in ways.values()]
    return grid(["torch_gbp", *ways], [[what, *(own[what] for own in counts)] for what in counts[0]])


def _counts(found: list[Comparison]) -> dict[str, str]:
    """What is counted, and on how many networks it holds."""
    nll, accuracy, _ = ([own.words[place] for own in found] for place in range(len(SCORES)))
    held = {"NLL and accuracy both better or level": sum("behind" not in both for both in zip(nll, accuracy, strict=True))}
    for place, score in enumerate(SCORES):
        held[f"{score.title} better"] = sum(own.words[place] == "better" for own in found)
    held[f"a step of at most {DEAREST:g} times AdamW's"] = sum(own.ratio <= DEAREST for own in found)
    return {what: f"{count} of {len(found)}" for what, count in held.items()}
