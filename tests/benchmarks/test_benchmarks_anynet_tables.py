"""The tables of `anynet`: their order, and how torch_gbp is judged beside the best rival."""

from __future__ import annotations

from typing import Any

from benchmarks.anynet_tables import any_network, verdicts, verdicts_of_means


def row(net: str, method: str, seed: int, nll: float) -> dict[str, Any]:
    return {"net": net, "method": method, "seed": seed, "limit": 640, "epochs": 60, "accuracy": 0.9, "nll": nll, "ece": 0.01,
            "step_seconds": 0.002, "step_ratio": 1.25}  # fmt: skip


def test_the_table_is_in_the_order_of_networks_and_methods() -> None:
    rows = [row("lenet_small", method, 0, 0.5) for method in ("adamw", "gbp")]
    rows += [row("mlp_small", "gbp", seed, nll) for seed, nll in enumerate((0.1, 0.3))]
    lines = any_network(rows).splitlines()
    few = "MNIST; 640 examples, 60 passes"
    assert lines[2] == (
        f"| MLP 784-128-128-10; {few} | **torch_gbp, means** | 90.00 ± 0.00 % | 0.2000 ± 0.1000 | 0.0100 ± 0.0000 | - | - "
        "| 2.0 ms | 1.25x |"
    )
    assert lines[3].startswith(f"| LeNet-5; {few} | **torch_gbp, means** | 90.00 % | 0.5000 | 0.0100 |")
    assert lines[4].startswith(f"| LeNet-5; {few} | AdamW | 90.00 % | 0.5000 | 0.0100 |")


def test_the_verdict_is_on_the_rival_of_the_best_nll_with_or_without_its_temperature() -> None:
    """Error of the difference: .05 of ours alone, as the rival has one seed."""
    rows = [row("lenet_small", "gbp", seed, nll) for seed, nll in enumerate((0.25, 0.35))] + [
        row("lenet_small", "adamw", 0, 0.5) | {"nll_tempered": 0.2, "ece_tempered": 0.02, "temperature": 2.0},
        row("lenet_small", "sgd_momentum", 0, 0.24) | {"accuracy": 0.95, "ece": 0.001},
    ]
    line, *_ = verdicts(rows).splitlines()[2:]
    assert line.split(" | ")[1:] == [
        "means", "AdamW, temperature", "0.3000 ± 0.0500", "0.2000", "behind", "90.00 ± 0.00 %", "90.00 %", "level",
        "0.0100 ± 0.0000", "0.0200", "better", "1.25x |",
    ]  # fmt: skip
    assert "| NLL and accuracy both better or level | 0 of 1 | 0 of 1 |" in verdicts(rows)
    better = verdicts([own | {"nll": 0.1} if own["method"] == "gbp" else own for own in rows])
    assert (
        "| NLL and accuracy both better or level | 1 of 1 | 1 of 1 |" in better and "| NLL better | 1 of 1 | 1 of 1 |" in better
    )


def test_the_short_table_has_the_means_sweeps_words_alone() -> None:
    rows = [
        row("lenet_small", method, 0, nll) for method, nll in (("gbp", 0.3), ("gbp_moments", 0.1), ("adamw", 0.2), ("ivon", 0.4))
    ]
    rows += [row("mlp_small", "gbp", 0, 0.1)]  # which has no rival yet
    assert verdicts_of_means(rows).splitlines()[2:] == [
        "| LeNet-5, MNIST, 640 x 60 | 0.3000 / 0.2000 | behind | level | level | 1.25x |"
    ]


def test_a_network_counts_once_by_the_moment_sweep_where_it_was_run() -> None:
    rows = [row("lenet_small", method, 0, nll) for method, nll in (("gbp", 0.3), ("gbp_moments", 0.1), ("adamw", 0.2))]
    rows += [row("mlp_small", method, 0, nll) | {"step_ratio": 1.5} for method, nll in (("gbp", 0.1), ("adamw", 0.2))]
    told = verdicts(rows)
    assert "| NLL better | 1 of 2 | 2 of 2 |" in told and "| a step of at most 1.3 times AdamW's | 1 of 2 | 1 of 2 |" in told


def test_ours_has_a_temperature_where_one_was_fitted_as_its_rivals() -> None:
    tempered = {"nll_tempered": 0.15, "ece_tempered": 0.001, "temperature": 1.5}
    rows = [row("lenet_small", "gbp", 0, 0.3) | tempered, row("lenet_small", "adamw", 0, 0.2)]
    rows += [row("mlp_small", method, 0, nll) for method, nll in (("gbp", 0.3), ("adamw", 0.2))]
    told = verdicts(rows)
    assert [line.split(" | ")[1:6] for line in told.splitlines()[2:5]] == [
        ["means", "AdamW", "0.3000", "0.2000", "behind"],
        ["means", "AdamW", "0.3000", "0.2000", "behind"],
        ["means, temperature", "AdamW", "0.1500", "0.2000", "better"],
    ]
    assert "| NLL better | 0 of 2 | 1 of 1 | 0 of 2 |" in told
    assert verdicts_of_means(rows).splitlines()[-1].startswith("| LeNet-5, MNIST, 640 x 60 | 0.3000 / 0.2000 | behind")
