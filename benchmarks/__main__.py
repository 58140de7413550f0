"""The command line of all benchmarks: python -m benchmarks NAME --data-dir DIR --out FILE.json."""

import argparse
from pathlib import Path

import torch

from benchmarks import digits, mnist
from benchmarks.report import Request, write

BENCHMARKS = {"digits": digits.run, "mnist": mnist.test, "mnist_validation": mnist.validate}  # a new benchmark adds its row


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the data sets, as torchvision lays them out")
    parser.add_argument("--out", type=Path, required=True, help="result file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--quick", action="store_true", help="every code path on little data, within 50 s")
    parser.add_argument("--net", choices=["mlp", "lenet"], default=None, help="one network only")
    parser.add_argument("--limit", type=int, default=None, help="number of training images (default: all)")
    parser.add_argument("--epochs", type=int, default=None, help="passes (default: 8 for the MLP, 5 for LeNet)")
    return parser.parse_args()


def main() -> None:
    arguments = vars(parse())
    name = arguments.pop("name")
    torch.set_num_threads(1)  # figures are ratios of one-thread times
    out = arguments.pop("out")
    write(out, name, BENCHMARKS[name](Request(**arguments)))


if __name__ == "__main__":
    main()
