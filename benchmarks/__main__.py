"""The command line of all benchmarks: python -m benchmarks NAME --data-dir DIR --out FILE.json."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks import (
    ablation,
    anynet,
    compare,
    coverage,
    defaults,
    digits,
    graph_ablation,
    graph_cost,
    graph_iterations,
    graph_mnist,
    local,
    posterior,
    prior_variance,
    prior_variance_uci,
    robust,
    search,
    synthetic,
    thesis,
    toys,
    uci,
    video,
    widening,
)
from benchmarks.methods import METHODS
from benchmarks.report import Request, Result
from benchmarks.results import started, write
from benchmarks.tasks import TASKS

BENCHMARKS: dict[str, Callable[[Request], Result]] = {
    "ablation": ablation.run,
    "anynet": anynet.run,
    "anynet_search": anynet.run_search,
    "defaults": defaults.run,
    "digits": digits.run,
    "local": local.run,
    "local_ablation": local.run_ablation,
    "local_pipeline": local.run_pipeline,
    "local_search": local.run_search,
    "prior_variance": prior_variance.run,
    "prior_variance_uci": prior_variance_uci.run,
    "robust": robust.run,
    "thesis": thesis.run,
    "coverage": coverage.run,
    "graph_ablation": graph_ablation.run,
    "graph_cost": graph_cost.run,
    "graph_iterations": graph_iterations.run,
    "graph_mnist": graph_mnist.run,
    "graph_mnist_validation": partial(graph_mnist.run, validation=True),
    "graph_regression": toys.curve.run,
    "graph_xor": toys.xor.run,
    "posterior": posterior.run,
    "posterior_reference": posterior.run_reference,
    "synthetic": synthetic.run,
    "graph_video": video.run,
    "widening": widening.run,
    "uci": uci.run,
    "uci_validation": partial(uci.run, validation=True),
    **{name: partial(compare.run, name) for name in TASKS},
    **{f"{name}_search": partial(search.run, name) for name in TASKS},
}
SEEDS = {  # the others: 0, 1, 2
    "anynet": range(2),
    "anynet_search": range(1),
    "coverage": range(100),
    "graph_regression": range(5),
    "graph_xor": range(10),
    "uci": range(20),
    "posterior_reference": range(1),
}
OWN_METHODS = {  # of the benchmarks whose names begin so; the others have the methods of the comparisons
    "anynet": anynet.METHODS,
    "local": local.METHODS,
    "graph_mnist": graph_mnist.METHODS,
    "graph_regression": toys.METHODS,
    "graph_xor": toys.METHODS,
    "posterior": posterior.POSTERIORS,
    "robust": robust.METHODS,
    "thesis": thesis.METHODS,
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
    parser.add_argument("--again", action="store_true", help="anynet: make rows anew that the result file has already")
    every = list(dict.fromkeys([*METHODS, *(method for own in OWN_METHODS.values() for method in own)]))
    parser.add_argument("--methods", nargs="+", choices=every, default=None, help="default: all that are installed")
    parser.add_argument("--accept-altered", action="store_true", help="read a CIFAR-10 copy with other checksums, if trusted")
    arguments = parser.parse_args()
    known = next((own for start, own in OWN_METHODS.items() if arguments.name.startswith(start)), METHODS)
    if strange := [method for method in arguments.methods or () if method not in known]:
        parser.error(f"{arguments.name} has no method {', '.join(strange)}: use {', '.join(known)}")
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
