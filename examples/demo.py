"""The demo: few and hard digits, and what is no digit: what a Bayesian network knows, what it does not, what it refuses."""

from __future__ import annotations

import argparse
import json
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from examples.demo_data import OTHER_SETS, HardDigits
from examples.demo_training import NAMES, Trained, train
from examples.plots import Lane, plot_knowledge
from lightning_modules.classifier_evaluation import ClassifierEvaluation
from torch_gbp.evaluation import Scorecard, evaluate, higher_is_better
from torch_gbp.reporting import report

EPOCHS = 40
ANSWERED = 0.75  # share of the held-out digits that each model may answer: those that it is surest of
RESAMPLES = 50  # of the bootstrap: standard errors are known to 10 %
COLUMNS = {  # of the table, and the scores' own names
    "accuracy": "cls/Acc",
    "nll": "cls/NLL",
    "ece": "cal/ECE",
    "aurc": "sc/AURC",
    **{f"auroc {name}": f"ood/{name}/AUROC" for name in OTHER_SETS},
}
PICTURED = ("gbp", "adamw_tuned")
SHOWN = 28  # images of each kind in the picture
SUBTITLE = (
    "250 labelled digits, a third of them noisy and a third turned, in training as in the test; letters and photographs beside"
)
Metrics = dict[str, dict[str, Any]]


def run(out: Path, seed: int = 0, epochs: int = EPOCHS) -> Metrics:
    """Trains, scores and shows three models; writes metrics.json, gbp.ckpt, knowledge.png and report.html to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    data = HardDigits(seed=seed)
    data.setup()
    trained = {name: train(name, data, epochs, out / "gbp.ckpt" if name == "gbp" else None) for name in NAMES}
    print("\nScores, picture, report")
    cards = {name: scored(NAMES[name], own.model, data) for name, own in trained.items()}
    least = {name: least_confidence(own.model, data) for name, own in trained.items()}
    metrics = {name: numbers(cards[name], least[name], data) | {"seconds": trained[name].seconds} for name in NAMES}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    pictured = {NAMES[name]: lanes(cards[name], least[name], data, metrics[name]) for name in PICTURED}
    plot_knowledge(pictured, out / "knowledge.png")
    write_report(cards, trained, out / "report.html")
    return metrics


def scored(name: str, model: ClassifierEvaluation, data: HardDigits) -> Scorecard:
    """All scores of a model on the test digits and on what is no digit."""
    others = {key: pairs.tensors[0] for key, pairs in data.parts.ood.items()}
    return evaluate(model, data.parts.test.tensors, ood=others, name=name, resamples=RESAMPLES, keep_inputs=True)


@torch.no_grad()
def least_confidence(model: ClassifierEvaluation, data: HardDigits) -> float:
    """The confidence below which a model refuses to answer: what `ANSWERED` of the held-out digits exceed."""
    assert data.parts.validation is not None
    held_out = model.log_probabilities(data.parts.validation.tensors[0]).exp().max(1).values
    return float(held_out.double().quantile(1 - ANSWERED))


def numbers(card: Scorecard, least: float, data: HardDigits) -> dict[str, Any]:
    """Scores with their standard errors by the table's columns; the share of each kind that is answered, and how much wrongly."""
    answered, wrong = {}, {}
    for kind, (name, rows) in data.kinds().items():
        given = confidence(card, name)[rows] >= least
        answered[kind] = float(given.double().mean())
        if not name:
            wrong[kind] = float((~right(card)[rows][given]).double().mean())
    return {**{column: list(card[name]) for column, name in COLUMNS.items()}, "answered": answered, "wrong": wrong}


def confidence(card: Scorecard, name: str = "") -> Tensor:
    """Largest probability of each test digit, or of each image of another set."""
    found = card.outcome.ood[name] if name else card.outcome
    assert found.probabilities is not None
    return found.probabilities.max(1).values


def right(card: Scorecard) -> Tensor:
    """Whether each test digit is recognised."""
    assert card.outcome.probabilities is not None
    return card.outcome.probabilities.argmax(1) == card.outcome.targets


def lanes(card: Scorecard, least: float, data: HardDigits, own: dict[str, Any]) -> list[Lane]:
    """The picture's lanes of a model: images of every kind, drawn at random, the same for all models."""
    generator, sets, found = torch.Generator().manual_seed(data.seed), {"": data.parts.test, **data.parts.ood}, []
    for kind, (name, rows) in data.kinds().items():
        some = rows[torch.randperm(len(rows), generator=generator)[:SHOWN]]
        note = f"answers {100 * own['answered'][kind]:.0f} %" + (f", {100 * own['wrong'][kind]:.1f} % wrong" if not name else "")
        known = None if name else right(card)[some]
        found.append(Lane(kind, sets[name].tensors[0][some, 0], confidence(card, name)[some], known, least, note))
    return found


def write_report(cards: dict[str, Scorecard], trained: dict[str, Trained], path: Path) -> None:
    """The report on all three models."""
    histories = {NAMES[name]: own.history for name, own in trained.items()}
    networks = {NAMES["gbp"]: trained["gbp"].model}
    report(list(cards.values()), path=path, title="Digits", subtitle=SUBTITLE, networks=networks, histories=histories)


def table(metrics: Metrics) -> str:
    """Scores and their standard errors as lines of text, the best of each column marked; and what is answered and refused."""
    names = [*COLUMNS, "seconds"]
    lines = [" " * 34 + "".join(f"{name:>18}" for name in names)]
    for model, own in metrics.items():
        cells = [f"{own[name][0]:.4f} ± {own[name][1]:.4f}{_best(metrics, model, name)}" for name in COLUMNS]
        lines.append(f"{NAMES[model]:<34}" + "".join(f"{cell:>18}" for cell in [*cells, f"{own['seconds']:.1f}"]))
    return "\n".join(lines)


def _best(metrics: Metrics, model: str, column: str) -> str:
    """A star behind the best of a column; a dot behind what two standard errors of the difference do not tell from it."""
    sign = 1 if higher_is_better(COLUMNS[column]) else -1
    best = max((own[column] for own in metrics.values()), key=lambda found: sign * found[0])
    value, error = metrics[model][column]
    if value == best[0]:
        return "*"
    return "." if abs(value - best[0]) <= 2 * math.hypot(error, best[1]) else " "


def story(metrics: Metrics) -> str:
    """What each model answers, in a table: shares of each kind, and of wrong answers among them."""
    kinds = next(iter(metrics.values()))["answered"]
    lines = [
        f"Each answers what it is surer of than of {100 * (1 - ANSWERED):.0f} % of the held-out digits, and refuses the rest.",
        "Answered, and wrongly among these:" + "".join(f"{kind:>18}" for kind in kinds),
    ]
    for model, own in metrics.items():
        wrong = {kind: f" ({100 * share:4.1f} %)" for kind, share in own["wrong"].items()}
        cells = [f"{100 * share:.0f} %{wrong.get(kind, '')}" for kind, share in own["answered"].items()]
        lines.append(f"{NAMES[model]:<34}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Reads the arguments, runs the demo and prints its table."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for report, picture, metrics and checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the labelled digits")
    options: Any = parser.parse_args(args)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # All data are in memory: loader workers would only copy them. The second is Lightning's own affair.
        for message in (".*does not have many workers.*", ".*LeafSpec.*"):
            warnings.filterwarnings("ignore", message)
        metrics = run(options.out, options.seed, options.epochs)
    print(f"\n{table(metrics)}\n* best, . not to be told from it (two standard errors of the difference)\n\n{story(metrics)}\n")
    print(f"Look at {options.out / 'knowledge.png'}, then open {options.out / 'report.html'}")


if __name__ == "__main__":
    main()
