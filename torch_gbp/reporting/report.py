"""report: one HTML file on one or several models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from torch_gbp.evaluation.scorecard import RESAMPLES
from torch_gbp.predictive.predict import SAMPLES
from torch_gbp.reporting import class_sections, examples, other_sections, run_sections, score_section, value_sections
from torch_gbp.reporting.checks import require_fitting, require_settings
from torch_gbp.reporting.page import Section, key, page
from torch_gbp.reporting.subjects import Subject, read_subjects
from torch_gbp.reporting.weights import curves, signal_to_noise


def report(
    models: Any,
    data: Any = None,
    path: str | Path = "report.html",
    *,
    outputs: str | None = None,
    ood: Mapping[str, Any] | None = None,
    near: Iterable[str] = (),
    train: Any = None,
    how: str | None = None,
    samples: int = SAMPLES,
    resamples: int = RESAMPLES,
    seed: int = 0,
    title: str = "What it knows, and how well it knows it",
    subtitle: str = "",
    classes: Sequence[str] | None = None,
    inputs: Tensor | None = None,
    networks: Mapping[str, nn.Module] | None = None,
    histories: Mapping[str, Any] | None = None,
) -> Path:
    """Report on one or several models as one self-contained HTML file.

    Nothing is fetched, no script runs, and it is light or dark as the reader's system is. It shows scores with bootstrap
    errors; reliability diagrams over bars of what chance makes (consistency resampling), confidence, risk against coverage; ROC
    curves of other inputs; the examples that a model is most, least and most wrongly certain of, as pictures where they are
    images; of real targets bands, coverage and the probability integral transform; signal-to-noise ratios of the weights;
    curves of the training.

    Args:
        models: by name: what `torch_gbp.evaluate` takes; a network with marginals as the pair (network, likelihood), or its
            `Trainer`. Or without `data` what is known of them: an `Outcome` or what `evaluate` returns, or a list of these.
        data, outputs, ood, near, train, how, samples, resamples, seed: as in `torch_gbp.evaluate`, for all models.
        path: of the file; its folder is made if it is missing.
        title, subtitle: of the page.
        classes: names of the classes.
        inputs: (n, ...), what the examples look like, where that is not what the models saw.
        networks: by the models' names, for the section on weights; of models with marginals that are given they are known.
        histories: by the models' names: what `Trainer.fit` returned, or curves {"evidence": [...], "rate": [...]}.

    Returns:
        The path.

    Raises:
        InvalidInput: what `evaluate` raises; models that were asked about different examples, or have no name of their own;
            networks or histories of no model here; names of fewer classes, inputs of fewer examples; a path that is a folder.

    >>> import tempfile, torch, torch_gbp as gbp
    >>> x = torch.randn(60, 2)
    >>> models = {"untrained": (gbp.GBPLinear(2, 2), gbp.Softmax())}
    >>> path = report(models, (x, (x[:, 0] > 0).long()), tempfile.mkdtemp() + "/report.html", resamples=5)
    >>> path.read_text().startswith("<!doctype html>")
    True
    """
    require_settings(path, title, subtitle, classes)
    options = {"outputs": outputs, "ood": ood, "near": near, "train": train, "how": how, "samples": samples}
    options |= {"resamples": resamples, "seed": seed}
    found = read_subjects(models, data, options)
    looks = examples.Looks(classes, inputs)
    require_fitting([own.card.outcome for own in found], looks, networks, histories)
    sections = _sections(found, looks, networks, histories)
    text = page(title, subtitle or _described(found), [own.name for own in found], _glance(found), sections)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _described(found: Sequence[Subject]) -> str:
    outcome = found[0].card.outcome
    others = {name: len(own) for name, own in outcome.ood.items()}
    beside = "".join(f", {n:,} {name}" for name, n in others.items())
    return f"{len(outcome):,} examples{beside}"


def _glance(found: Sequence[Subject]) -> str:
    """A card of sentences for each model."""
    kind = class_sections if found[0].card.outcome.kind == "classification" else value_sections
    said = (f"{key(i, own.name)}<p>{kind.glance(own.card.outcome)}</p>" for i, own in enumerate(found))
    cards = (f'<div style="--own:var(--m{i})">{text}</div>' for i, text in enumerate(said))
    return f'<div class="glance">{"".join(cards)}</div>'


def _sections(
    found: Sequence[Subject],
    looks: examples.Looks,
    networks: Mapping[str, nn.Module] | None,
    histories: Mapping[str, Any] | None,
) -> Iterator[Section]:
    """The sections in their order; those of which nothing is known are left out."""
    cards, names = [own.card for own in found], [own.name for own in found]
    outcomes = [card.outcome for card in cards]
    known = {i: own.network for i, own in enumerate(found) if own.network is not None}
    known |= {names.index(name): network for name, network in (networks or {}).items()}
    ratios = {i: signal_to_noise(network) for i, network in known.items()}
    runs = {names.index(name): curves(history, name) for name, history in (histories or {}).items()}
    of_kind = _of_classes if outcomes[0].kind == "classification" else _of_values
    possible = (
        score_section.section(cards),
        *of_kind(found, looks),
        other_sections.other_inputs(cards),
        run_sections.of_weights(names, ratios),
        run_sections.of_training(names, runs),
    )
    yield from (section for section in possible if section is not None)


def _of_classes(found: Sequence[Subject], looks: examples.Looks) -> Iterator[Section | None]:
    cards = [own.card for own in found]
    yield class_sections.calibration(cards)
    yield class_sections.refusing(cards)
    yield examples.section([card.outcome for card in cards], looks)


def _of_values(found: Sequence[Subject], looks: examples.Looks) -> Iterator[Section | None]:
    outcomes = [own.card.outcome for own in found]
    yield value_sections.bands(outcomes, looks.inputs)
    yield value_sections.calibration(outcomes)
    yield value_sections.surprises(outcomes, looks.inputs)
