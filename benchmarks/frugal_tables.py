"""The tables of little: few images, one pass, few seconds, and no search for a rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from benchmarks import passes, untuned
from benchmarks.markdown import ACCURACY, ECE, NLL, Cell, Column, Line, cell, crossed, distinct, grid, number
from benchmarks.methods import METHODS, OURS, UNTEMPERED
from benchmarks.portions import Portion
from benchmarks.results import Row, estimate, matching
from benchmarks.tasks import TASKS

SINGLE = [name for name in METHODS if name != "ensemble"]  # of one network each
LARGEST = 10  # NLL that is written out
Points = Sequence[tuple[float, float]]
"""(seconds, NLL) of trainings, shorter ones first."""


def few_images(of_one: Callable[[list[Row]], str], rows: list[Row]) -> str:
    """NLL with a held-out temperature by number of images, the best of the single networks in bold; `of_one`: of one number."""
    key, limits = "nll_tempered", sorted({row["limit"] for row in rows})
    if len(limits) == 1:
        return of_one(rows)
    rows = as_they_come(rows)
    nets = TASKS["lowdata"].nets
    best = {(net, limit): _best(matching(rows, net=net, limit=limit), key) for net in nets for limit in limits}

    def told(own: list[Row]) -> str:
        found, text = estimate(own, key), number(own, key, 3)
        return f"**{text}**" if found and found.mean == best[own[0]["net"], own[0]["limit"]] else text

    lines = [
        Line([nets[net].title, entrant.title], {"net": net, "method": method})
        for net in nets
        for method, entrant in METHODS.items()
        if any(key in row for row in matching(rows, net=net, method=method))
    ]
    return crossed(rows, ["net", "method"], lines, [Column(f"{limit:,}", told, {"limit": limit}) for limit in limits])


def as_they_come(rows: list[Row]) -> list[Row]:
    """The rows, those of methods that nobody fits a temperature for at temperature 1, unless a search did."""
    own = ("nll", "ece")
    return [
        {**{f"{key}_tempered": row[key] for key in own if key in row}, **row} if row["method"] in UNTEMPERED else row
        for row in rows
    ]


def _best(rows: list[Row], key: str) -> float:
    """The smallest mean of a single network's scores; infinite if there are none."""
    found = [estimate(matching(rows, method=method), key) for method in SINGLE]
    return min((own.mean for own in found if own), default=math.inf)


def one_pass(rows: list[Row]) -> str:
    """Every network and method of `onepass`."""
    titles = {method: _bold(method, entrant.title) for method, entrant in passes.ONEPASS.entrants.items()}

    def ratio(own: list[Row]) -> str:
        theirs = matching(rows, net=own[0]["net"], limit=own[0]["limit"], method="adamw")
        clocks = [estimate(part, "processor_seconds") for part in (own, theirs)]
        return f"{clocks[0].mean / clocks[1].mean:.2f}x" if clocks[0] and clocks[1] else "-"

    lines = [
        Line([f"{passes.ONCE[net].title}, {limit:,} images", title], {"net": net, "limit": limit, "method": method})
        for net, limit in _cases(rows, passes.ONCE)
        for method, title in titles.items()
    ]
    columns = [
        Column("accuracy", ACCURACY),
        Column("NLL", NLL),
        Column("NLL with a held-out temperature", cell("nll_tempered")),
        Column("ECE", ECE),
        Column("ECE with it", cell("ece_tempered")),
        Column("training / AdamW's", ratio),
    ]
    return crossed(rows, ["data, net", "method"], lines, columns)


def seconds(rows: list[Row]) -> str:
    """NLL with a held-out temperature and processor seconds of training by passes, and those to AdamW's best NLL."""
    titles = {method: _bold(method, entrant.title) for method, entrant in passes.COST.entrants.items()}
    lines = [
        Line([f"{passes.COSTS[net].title}, {limit:,} images", title], {"net": net, "limit": limit, "method": method})
        for net, limit in _cases(rows, passes.COSTS)
        for method, title in titles.items()
    ]

    def told(own: list[Row]) -> str:
        return f"{number(own, 'nll_tempered')} ({number(own, 'processor_seconds', 1, spread=False)} s)" if own else "-"

    def until(own: list[Row]) -> str:
        case = matching(rows, net=own[0]["net"], limit=own[0]["limit"])
        theirs = points(matching(case, method="adamw"))
        return reached(points(own), min(nll for _, nll in theirs)) if theirs else "-"

    columns = [Column(f"{epochs} pass{'es' if epochs > 1 else ''}", told, {"epochs": epochs}) for epochs in _passes(rows)]
    return crossed(rows, ["data, net", "method"], lines, [*columns, Column("seconds to AdamW's best NLL", until)])


def _passes(rows: list[Row]) -> list[int]:
    return sorted({row["epochs"] for row in rows})


def points(rows: list[Row], key: str = "nll_tempered") -> Points:
    """Means over the seeds for each number of passes."""
    found = [matching(rows, epochs=epochs) for epochs in _passes(rows)]
    pairs = [(estimate(own, "processor_seconds"), estimate(own, key)) for own in found]
    return [(clock.mean, score.mean) for clock, score in pairs if clock and score]


def reached(own: Points, nll: float) -> str:
    """Seconds at which straight lines through the points, along the logarithm of the seconds, first come down to this NLL.

    >>> reached([(1.0, 0.3), (4.0, 0.1)], 0.2), reached([(1.0, 0.3)], 0.3), reached([(1.0, 0.3), (2.0, 0.2)], 0.1)
    ('2.0 s', 'at most 1.0 s', 'not reached')
    """
    if own and own[0][1] <= nll:
        return f"at most {own[0][0]:.1f} s"
    for (first, above), (last, below) in pairwise(own):
        if below <= nll:
            return f"{first * (last / first) ** ((above - nll) / (above - below)):.1f} s"
    return "not reached"


def untuned_rates(rows: list[Row]) -> str:
    """NLL at every multiple of the usual rate; and on how many networks torch_gbp's worst is below a rival's median."""
    titles = {method: _bold(method, entrant.title) for method, entrant in untuned.ENTRANTS.items()}
    lines = [
        Line([f"{untuned.PORTIONS[net].title}, {limit:,} examples", title], {"net": net, "method": method})
        for net, limit in _cases(rows, untuned.PORTIONS)
        for method, title in titles.items()
    ]
    columns = [
        Column(f"rate x {own:g}", lambda own: _bounded(_mean(own, "nll")), {"settings": {"multiple": own}})
        for own in untuned.MULTIPLES
    ]
    for words, key in (("", "nll"), (", best temperature", "nll_tempered")):
        columns += [Column(f"{which}{words}", _of_spread(place, key)) for place, which in enumerate(untuned.Spread._fields)]
    return crossed(rows, ["data, net", "method"], lines, columns) + "\n" + _wins(rows, titles)


def _of_spread(place: int, key: str) -> Cell:
    def told(own: list[Row]) -> str:
        return _bounded(by_multiple(own, key)[place])

    return told


def _mean(rows: list[Row], key: str) -> float:
    found = estimate(rows, key)
    return found.mean if found else math.nan


def _bounded(nll: float) -> str:
    """Three digits; where a training has blown up, how far does not matter."""
    return f"{nll:.3f}" if nll <= LARGEST else f"> {LARGEST}"


def by_multiple(rows: list[Row], key: str) -> untuned.Spread:
    """The spread of the means over the seeds of one method on one network."""
    found = [estimate(matching(rows, settings={"multiple": own}), key) for own in untuned.MULTIPLES]
    return untuned.spread([own.mean for own in found if own])


def _wins(rows: list[Row], titles: dict[str, str]) -> str:
    nets = [net for (net,) in distinct(rows, "net")]
    rivals = [method for method in titles if method not in OURS and matching(rows, method=method)]
    lines = []
    for ours in (own for own in OURS if matching(rows, method=own)):
        for words, key in (("NLL", "nll"), ("NLL, best temperature of each rate", "nll_tempered")):
            counts = []
            for rival in rivals:
                pairs = [(matching(rows, net=net, method=ours), matching(rows, net=net, method=rival)) for net in nets]
                both = [(by_multiple(own, key).worst, by_multiple(theirs, key).median) for own, theirs in pairs if own and theirs]
                counts.append(f"{sum(worst < median for worst, median in both)} of {len(both)}")
            lines.append([titles[ours], words, *counts])
    return grid(["worst of five rates", "score", *(f"below the median of {titles[rival]}" for rival in rivals)], lines)


def _cases(rows: list[Row], known: Mapping[str, Portion]) -> list[tuple[str, int]]:
    """Networks and numbers of examples, in the order of the benchmark."""
    return sorted(distinct(rows, "net", "limit"), key=lambda case: (list(known).index(case[0]), case[1]))


def _bold(method: str, title: str) -> str:
    return f"**{title}**" if method.startswith("gbp") else title


OF_ROWS = {"cost": seconds, "onepass": one_pass, "untuned": untuned_rates}
