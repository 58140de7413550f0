"""The command line of all benchmarks: python -m benchmarks NAME --data-dir DIR --out FILE.json."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks import (
    active,
    anynet,
    continual,
    corruptions,
    digits,
    graph_images,
    local_learning,
    ood,
    passes,
    step_times,
    study,
    tabular,
    uci,
    untouched,
    untuned,
    video,
)
from benchmarks.checks import coverage, curve, posterior, prior, robust, thesis, thesis_times, ways
from benchmarks.contest import image_contest
from benchmarks.methods import METHODS
from benchmarks.results import Request, Result, started, write
from benchmarks.tasks import TASKS

CONTESTS = {name: image_contest(name) for name in TASKS} | {"anynet": anynet.CONTEST, "local": local_learning.CONTEST}
CONTESTS |= {"untouched": untouched.CONTEST, "onepass": passes.ONEPASS, "cost": passes.COST}
BENCHMARKS: dict[str, Callable[[Request], Result]] = {
    **{name: contest.run for name, contest in CONTESTS.items()},
    **{f"{name}_search": contest.search for name, contest in CONTESTS.items()},
    **{name: own.run for name, own in study.STUDIES.items()},
    "active": active.run,
    "continual": continual.run,
    "continual_search": partial(continual.run, search=True),
    "corruptions": corruptions.run,
    "coverage": coverage.run,
    "digits": digits.run,
    "graph_ablation": graph_images.run_ablation,
    "graph_mnist": graph_images.run,
    "graph_mnist_search": graph_images.search,
    "graph_video": video.run,
    "ood": ood.run,
    "posterior": posterior.run,
    "prior_predictive": prior.run,
    "robust": robust.run,
    "step_times": step_times.run,
    "synthetic": curve.run_synthetic,
    "tabular": tabular.run,
    "thesis": thesis.run,
    "thesis_times": thesis_times.run,
    "uci": uci.run,
    "untuned": untuned.run,
    "uci_validation": partial(uci.run, validation=True),
    "ways": ways.run,
}
SEEDS = {  # the others: 0, 1, 2
    "active": range(2),
    "anynet": range(2),
    "continual": range(2),
    "cost": range(2),
    "onepass": range(2),
    "ood": range(2),
    "coverage": range(100),
    "step_times": range(1),
    "tabular": range(5),
    "thesis_times": range(1),
    "uci": range(20),
    "untuned": range(2),
    "ways": range(2),
}
ON_DEVICES = {f"{name}{what}" for name in (*TASKS, "anynet") for what in ("", "_search")} | {"step_times"}
OWN_METHODS = {  # of the benchmarks whose names begin so; the others have the methods of the comparisons
    "active": active.WAYS,
    "anynet": anynet.ENTRANTS,
    "continual": continual.ENTRANTS,
    "cost": passes.COST.entrants,
    "local_feedback": study.FEEDBACK,
    "local": local_learning.ENTRANTS,
    "graph_mnist": graph_images.METHODS,
    "onepass": passes.ONEPASS.entrants,
    "posterior": posterior.POSTERIORS,
    "prior_predictive": prior.PRIORS,
    "robust": robust.METHODS,
    "tabular": tabular.TITLES,
    "thesis": thesis.METHODS,
    "untuned": untuned.ENTRANTS,
    "ways": ways.WAYS,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the data sets, as torchvision lays them out")
    parser.add_argument("--out", type=Path, required=True, help="result file; rows of other runs in it are kept")
    parser.add_argument("--seeds", type=int, nargs="+", help="0 1 2, uci: its 20 splits; a search uses the first")
    parser.add_argument("--quick", action="store_true", help="every code path on little data, within 50 s")
    parser.add_argument("--net", default=None, help="one network only")
    parser.add_argument("--limit", type=int, default=None, help="number of training images (default: the task's)")
    parser.add_argument("--epochs", "--passes", type=int, default=None, help="passes (default: the task's)")
    parser.add_argument(
        "--again",
        action="store_true",
        help="make rows anew that the file has: anynet, onepass, cost, coverage, thesis, untuned, searches",
    )
    every = list(dict.fromkeys([*METHODS, *(method for own in OWN_METHODS.values() for method in own)]))
    parser.add_argument("--methods", nargs="+", choices=every, default=None, help="default: all that are installed")
    parser.add_argument("--accept-altered", action="store_true", help="read a CIFAR-10 copy with other checksums, if trusted")
    parser.add_argument("--device", default="cpu", help=f"where networks are trained, e.g. cuda: {', '.join(sorted(ON_DEVICES))}")
    arguments = parser.parse_args()
    known = next((own for start, own in OWN_METHODS.items() if arguments.name.startswith(start)), METHODS)
    if strange := [method for method in arguments.methods or () if method not in known]:
        parser.error(f"{arguments.name} has no method {', '.join(strange)}: use {', '.join(known)}")
    if arguments.device != "cpu" and arguments.name not in ON_DEVICES:
        parser.error(f"{arguments.name} runs on the CPU alone; --device is for {', '.join(sorted(ON_DEVICES))}")
    return arguments


def main() -> None:
    arguments = vars(parse())
    name, out, again = (arguments.pop(key) for key in ("name", "out", "again"))
    arguments["done"] = [] if again else started(out, name, {})["rows"]
    arguments["seeds"] = arguments["seeds"] or list(SEEDS.get(name, range(3)))
    torch.set_num_threads(1)  # figures are ratios of one-thread times
    write(out, name, BENCHMARKS[name](Request(**arguments, beside=out.with_suffix(""))))


if __name__ == "__main__":
    main()
