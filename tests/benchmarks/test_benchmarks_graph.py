"""Benchmarks of deep factor graphs: the small problems run quickly, their exact graph is the network's, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import torch_gbp as gbp
from benchmarks import figures, tables
from benchmarks.graph_mnist_table import figure
from benchmarks.toys import curve, xor
from benchmarks.toys.exact import activations, adopt, scalar_graph
from benchmarks.toys.scalar_graph import Factors


def test_xor_tells_both_methods_their_table_and_their_map(run: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    exact, summed = run("graph_xor", "--quick", "--seeds", "3")
    assert [exact["method"], summed["method"]] == ["graph_exact", "graph"]
    assert exact["map"] != summed["map"] or summed["disagreement"] == 0
    cells = zip("".join(exact["map"]), "".join(summed["map"]), strict=True)
    assert summed["disagreement"] == pytest.approx(sum(a != b for a, b in cells) / 400)
    assert "disagreement" not in exact and {exact["seed"], summed["seed"]} == {3} and 0 <= summed["corners"] <= 4
    lines = tables.table("graph_xor", folder=tmp_path).splitlines()
    assert lines[2].startswith("| exact messages |") and lines[3].startswith("| summed messages |")
    assert [path.name for path in figures.draw(tmp_path, tmp_path)] == ["graph_xor.png"]


def test_the_curve_tells_both_methods_their_table_and_their_fits(
    run: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    exact, summed = run("graph_regression", "--quick", "--seeds", "2")
    data = curve.points(2)
    truth, inside = data.truth[:, 0], curve.inside(data.drawn)[:, 0]
    assert inside.sum() == 101 and data.y.std(correction=0) == pytest.approx(0.5)
    fit, other = (torch.tensor(row["fit"], dtype=torch.float64) for row in (summed, exact))
    assert summed["rmse"] == pytest.approx(float((fit - truth)[inside].square().mean().sqrt()), abs=1e-3)
    assert summed["difference"] == pytest.approx(float((fit - other)[inside].square().mean().sqrt()), abs=1e-3)
    ratio = f"{summed['rmse'] / exact['rmse']:.2f}"
    assert f"| {ratio} |" in tables.table("graph_regression", folder=tmp_path).splitlines()[3]
    assert [path.name for path in figures.draw(tmp_path, tmp_path)] == ["graph_regression.png"]


def test_the_exact_graph_has_the_energy_and_the_learned_means_of_the_network() -> None:
    """Its energy at any point is the one written out; what it learns is what predicts."""
    model, x, y = curve.network(1), torch.randn(4, 1, dtype=torch.float64), torch.randn(4, 1, dtype=torch.float64)
    graph, places = scalar_graph(model, x, lambda outputs: Factors(outputs, lambda value: value[..., 0] - y[:, 0], 0.05))
    graph.infer(30, damping=0.8)
    mean = graph.belief().mean
    (w1, b1, hidden), (w2, b2, output) = ([mean[part] for part in own] for own in places)
    residuals = [
        (torch.sigmoid(x @ w1.T + b1) - hidden) / 0.005,
        (hidden @ w2.T + b2 - output) / 0.01,
        (output - y) / 0.05,
        *(w1 / 6, b1 / 3, hidden / 10, w2 / 1.5, b2 / 3, output / 3),
    ]
    assert graph.energy() == pytest.approx(sum(0.5 * float(part.square().sum()) for part in residuals), rel=1e-9)
    adopt(model, graph, places)
    assert_close(activations(model, x)[-1], torch.sigmoid(x @ w1.T + b1) @ w2.T + b2, rtol=1e-12, atol=1e-12)


def test_two_classes_are_one_factor() -> None:
    """The joint factor of the softmax's two residuals and the scalar one say the same to the logits."""
    mean, variance = torch.randn(4, 2, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    found = gbp.SquaredSoftmax(xor.SIGMA).evidence_at(mean, variance, xor.LABELS, mean)
    factor = xor._observe(torch.arange(8).view(4, 2))
    point = mean.clone().requires_grad_()
    residual = factor.residual(point)
    (jacobian,) = torch.autograd.grad(residual.sum(), point)
    spread = factor.sigma**2 + (jacobian.square() * variance).sum(1, keepdim=True)
    assert_close(found.score, -jacobian * residual.detach()[:, None] / spread, rtol=1e-9, atol=1e-12)
    assert_close(found.precision, jacobian.square() / spread, rtol=1e-9, atol=1e-12)


def test_one_pass_over_images_is_told_by_number_and_method(tmp_path: Path) -> None:
    accuracies = {("graph", 60_000): (0.98, 0.99), ("graph", 300): (0.9,), ("cnn_adam", 300): (0.7,)}
    rows = [
        {"method": method, "net": "mnist", "limit": limit, "seed": seed, "accuracy": accuracy, "processor_seconds": 10.0}
        for (method, limit), own in accuracies.items()
        for seed, accuracy in enumerate(own)
    ]
    (tmp_path / "graph_mnist.json").write_text(json.dumps({"benchmark": "graph_mnist", "settings": {}, "rows": rows}))
    lines = tables.table("graph_mnist", folder=tmp_path).splitlines()
    assert lines[0] == "| data | images | factor graph | CNN, Adam | published | factor graph, CPU seconds |"
    assert lines[2:] == ["| MNIST | 300 | 90.00 | 70.00 | - | 10 |", "| MNIST | 60,000 | 98.50 ± 0.50 | - | 98.16 | 10 ± 0 |"]
    drawn = figure(tmp_path)
    assert drawn is not None
    assert [list(line.get_xdata()) for line in drawn.axes[0].lines if line.get_linestyle() == "-"] == [[300, 60_000]]
    assert sorted(text.get_text() for text in drawn.axes[0].texts) == ["factor graph", "published"]


def test_missing_results_are_told(tmp_path: Path) -> None:
    for name in ("graph_xor", "graph_regression", "graph_mnist"):
        assert tables.table(name, folder=tmp_path) == "(not run yet)\n"
    assert figures.draw(tmp_path, tmp_path) == []
