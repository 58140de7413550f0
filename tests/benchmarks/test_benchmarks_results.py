"""Result files are merged and survive a kill; settings come from the search; tables and figures tell the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import choice, figures, graph_tables, tables
from benchmarks.__main__ import CONTESTS
from benchmarks.choice import Choice, beyond
from benchmarks.contest import image_contest
from benchmarks.methods import METHODS
from benchmarks.results import CODE, FORMAT, RESULTS, Result, Row, committed, save, write


def row(method: str, nll: float, seed: int = 0, **others: object) -> Row:
    """A row of the MLP on MNIST."""
    scores = {"accuracy": 0.98, "nll": nll, "ece": 0.01, "train_ratio": 2.0, "predict_seconds": 0.5, "peak_memory_mb": 3.0}
    return {"method": method, "net": "mlp", "limit": 60000, "seed": seed, "epochs": 8, **scores, **others}


def choose(searched: list[Row], net: str, method: str, epochs: int) -> Choice:
    return image_contest("mnist").choose(searched, net, method, epochs)


def store(folder: Path, name: str, rows: list[Row]) -> None:
    (folder / f"{name}.json").write_text(json.dumps({"format": FORMAT, "benchmark": name, "settings": {}, "rows": rows}))


def test_rows_are_kept_when_the_run_is_killed(tmp_path: Path) -> None:
    def killed() -> Iterator[Row]:
        yield row("adamw", 0.5, seed=1)
        raise KeyboardInterrupt

    path = tmp_path / "mnist.json"
    write(path, "mnist", Result({}, [row("adamw", 0.1), row("adamw", 0.2, seed=1), row("adamw", 0.3, epochs=1)]))
    with pytest.raises(KeyboardInterrupt):
        write(path, "mnist", Result({}, killed()))
    assert [found["nll"] for found in committed("mnist", tmp_path)] == [0.1, 0.5, 0.3]
    assert list(tmp_path.iterdir()) == [path]


def test_parts_that_run_side_by_side_keep_each_others_rows(tmp_path: Path) -> None:
    def slow() -> Iterator[Row]:
        yield row("adamw", 0.1)
        write(tmp_path / "mnist.json", "mnist", Result({}, [row("sgd", 0.2)]))
        yield row("gbp", 0.3)

    write(tmp_path / "mnist.json", "mnist", Result({}, slow()))
    assert [found["method"] for found in committed("mnist", tmp_path)] == ["adamw", "sgd", "gbp"]


def test_rows_of_a_search_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    rows = [row("sgd", 0.1, settings={"lr": 1}), row("sgd", 0.2, settings={"lr": 2}), row("sgd", 0.3, settings={"lr": 1})]
    write(tmp_path / "a.json", "mnist_search", Result({}, rows))
    assert [found["nll"] for found in committed("a", tmp_path)] == [0.3, 0.2]


def test_settings_of_other_methods_are_kept_and_those_of_a_method_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mnist.json"
    write(path, "mnist", Result({"methods": {"mlp": {"gbp": {"power": 128}, "sgd": {"lr": 1}}}}, [row("gbp", 0.1)]))
    write(path, "mnist", Result({"methods": {"mlp": {"gbp": {}}, "lenet": {"gbp": {}}}}, [row("gbp", 0.1)]))
    assert json.loads(path.read_text())["settings"]["methods"] == {"mlp": {"gbp": {}, "sgd": {"lr": 1}}, "lenet": {"gbp": {}}}


def test_a_list_of_numbers_takes_a_line(tmp_path: Path) -> None:
    content = {"rows": [{"needed": [0.25, -1e-05, 3], "method": "[1, \n 2]", "lists": [[1], [2, 3]]}]}
    save(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == content and "[0.25, -1e-05, 3]" in text and "[2, 3]" in text


def test_a_file_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    store(tmp_path, "fashion", [])
    with pytest.raises(SystemExit, match="'fashion': choose another file for 'mnist'"):
        write(tmp_path / "fashion.json", "mnist", Result({}, []))


def test_the_settings_with_the_best_held_out_likelihood_are_chosen() -> None:
    searched = [row("adamw", nll, settings={"lr": lr}) for lr, nll in ((1, 0.3), (2, 0.1), (3, 0.2))]
    searched += [row("sgd", 0.01, settings={"lr": 4}), {**row("adamw", 0.001, settings={"lr": 5}), "net": "lenet"}]
    assert choose(searched, "mlp", "adamw", 8) == ({"lr": 2}, choice.SEARCHED, None, 3)
    assert choose(searched, "mlp", "ensemble", 8) == ({"lr": 2}, choice.SEARCHED, None, 3)
    assert choose(searched, "onepass", "adamw", 8) == (METHODS["adamw"].defaults, choice.BUILT_IN, None, 0)
    strange = row("gbp", 0.1, settings={"power": 1}, temperature=2.0)
    assert choose([*searched, strange], "mlp", "gbp", 8) == ({}, choice.SHIPPED, None, 0)


def test_a_search_goes_to_twice_the_largest_rate_and_half_the_smallest_where_these_are_best() -> None:
    adamw = METHODS["adamw"]
    found = [row("adamw", nll, settings={"lr": lr, "weight_decay": lr / 10}) for lr, nll in ((0.1, 0.3), (0.2, 0.2), (0.4, 0.25))]
    assert beyond(found[:2], adamw, 8) == {"lr": 0.4, "weight_decay": 0.02}
    assert beyond(found[1:], adamw, 8) == {"lr": 0.1, "weight_decay": 0.02}
    assert beyond(found, adamw, 8) is None
    assert beyond(found[:1], adamw, 8) is None, "one rate has no edges"
    assert (
        beyond([row("laplace_held_out", 0.1, settings={"prior": own}) for own in (1, 2)], METHODS["laplace_held_out"], 8) is None
    )
    assert beyond([*found[:2], row("adamw", 0.1, settings={"lr": 0.4}, epochs=1)], adamw, 8) == {"lr": 0.4, "weight_decay": 0.02}


def test_a_search_with_as_many_passes_is_preferred_then_the_nearest_one() -> None:
    cases = [(6, 1, 0.2), (6, 2, 0.3), (10, 3, 0.1), (10, 4, 0.4)]  # passes, lr, NLL
    searched = [row("adamw", nll, settings={"lr": lr}, epochs=epochs) for epochs, lr, nll in cases]
    assert choose(searched, "mlp", "adamw", 6).settings == {"lr": 1}
    assert choose(searched, "mlp", "ensemble", 6).settings == {"lr": 1}
    assert choose(searched, "mlp", "adamw", 10) == ({"lr": 3}, choice.SEARCHED, None, 2)
    assert choose(searched, "mlp", "adamw", 8) == ({"lr": 3}, choice.SEARCHED_ELSEWHERE, None, 2)
    assert choose(searched, "mlp", "adamw", 7) == ({"lr": 1}, choice.SEARCHED_ELSEWHERE, None, 2)
    assert choose(searched, "mlp", "ensemble", 120).settings == {"lr": 3}


def test_cifar10_at_six_passes_takes_what_its_search_chose() -> None:
    settings = choose(committed("cifar10_search"), "conv890k", "adamw", 6).settings
    assert settings == {"lr": 0.002, "weight_decay": 0.1}


def test_the_temperature_is_that_of_the_chosen_settings() -> None:
    tempered = [(1, 0.3, 0.10, 1.5), (2, 0.1, 0.09, 1.2), (3, 0.2, 0.05, 2.0)]  # lr, NLL, tempered NLL, temperature
    found = {
        method: [row(method, n, settings={"lr": lr}, nll_tempered=m, temperature=t) for lr, n, m, t in tempered]
        for method in ("adamw", "adamw_tail", "sgd_momentum")
    }
    searched = [*found["adamw"], *found["adamw_tail"], *found["sgd_momentum"]]
    assert choose(searched, "mlp", "adamw", 8) == ({"lr": 2}, choice.SEARCHED, 1.2, 3)
    assert choose(searched, "mlp", "adamw_tail", 8) == ({"lr": 3}, choice.SEARCHED, 2.0, 3)
    assert choose(searched, "mlp", "sgd_momentum", 8) == ({"lr": 3}, choice.SEARCHED, 2.0, 3)
    fewer = row("adamw", 0.5, settings={"lr": 2}, limit=20_000, nll_tempered=0.4, temperature=9.0)
    assert choose([fewer, *searched], "mlp", "adamw", 8).temperature == 1.2


def test_methods_without_a_grid_have_a_temperature_of_their_own() -> None:
    searched = [row("adamw", nll, settings={"lr": lr}, temperature=5.0) for lr, nll in ((1, 0.2), (2, 0.1))]
    searched += [row("ensemble", nll, settings={"lr": lr}, temperature=t) for lr, nll, t in ((1, 0.01, 7.0), (2, 0.05, 1.1))]
    searched += [row("gbp", 0.1, settings={}, temperature=0.9)]
    assert choose(searched, "mlp", "ensemble", 8) == ({"lr": 2}, choice.SEARCHED, 1.1, 2)
    assert choose(searched, "mlp", "laplace", 8) == ({"lr": 2}, choice.SEARCHED, None, 2)
    assert choose(searched, "mlp", "gbp", 8) == ({}, choice.SHIPPED, 0.9, 0)


def test_a_table_has_tempered_columns_where_a_row_has_them(tmp_path: Path) -> None:
    store(tmp_path, "mnist", [row("adamw", 0.5), row("gbp", 0.3)])
    store(tmp_path, "fashion", [row("adamw", 0.5, nll_tempered=0.4, ece_tempered=0.005), row("sgd", 0.6)])
    assert "temperature" not in tables.table("mnist", folder=tmp_path)
    head, _, adamw, sgd = tables.table("fashion", folder=tmp_path).splitlines()
    expected = ["NLL", "NLL with a held-out temperature", "ECE", "ECE with a held-out temperature"]
    assert head.split(" | ")[3:7] == expected
    assert adamw.split(" | ")[3:7] == ["0.5000", "0.4000", "0.0100", "0.0050"]
    assert sgd.split(" | ")[3:7] == ["0.6000", "-", "0.0100", "-"]


def test_a_table_tells_mean_and_standard_error(tmp_path: Path) -> None:
    rows = [row("adamw", 0.5, ood_auroc=0.9), *(row("gbp", nll, seed, ood_auroc=0.9) for seed, nll in enumerate((0.1, 0.3)))]
    store(tmp_path, "mnist", [*rows, row("adamw", 0.7, limit=640)])
    lines = tables.table("mnist", folder=tmp_path).splitlines()
    assert lines[2].startswith("| MLP 784-256-256-10, 8 passes | **torch_gbp** | 98.00 ± 0.00 % | 0.2000 ± 0.1000 | 0.0100")
    assert lines[2].endswith("| 0.900 ± 0.000 | - | 2.00 ± 0.00x | 0.50 s | 3.0 MB |")
    assert lines[3].startswith("| MLP 784-256-256-10, 8 passes | AdamW | 98.00 % | 0.5000 |")
    assert lines[4].startswith("| MLP 784-256-256-10, 640 images, 8 passes | AdamW | 98.00 % | 0.7000 |")
    assert tables.table("mnist", 640, tmp_path).splitlines()[2:] == lines[4:]
    assert tables.table("fashion", folder=tmp_path) == "(not run yet)\n"


@pytest.mark.parametrize("path", tables.places(), ids=lambda path: path.name)
def test_the_tables_of_the_texts_are_the_committed_results(path: Path) -> None:
    text = path.read_text()
    assert tables.fill(text) == text
    assert tables.fill("<!-- results: mnist -->\nold\n<!-- end -->") != "<!-- results: mnist -->\nold\n<!-- end -->"


def test_every_committed_result_has_a_text_or_a_table() -> None:
    texts = "".join(path.read_text() for path in tables.places())
    names = {path.stem for path in RESULTS.glob("*.json")}
    searches = {f"{name}_search" for name in CONTESTS}  # read by the benchmark itself
    assert not {name for name in names - searches if f"<!-- results: {name}" not in texts and f"{name}.json" not in texts}


def test_a_file_of_another_format_is_refused_with_the_command_that_renews_it(tmp_path: Path) -> None:
    path = tmp_path / "mnist.json"
    path.write_text(json.dumps({"format": 0, "benchmark": "mnist", "settings": {}, "rows": []}))
    for read in (lambda: committed("mnist", tmp_path), lambda: write(path, "mnist", Result({}, [row("sgd", 0.1)]))):
        with pytest.raises(SystemExit, match=r"format 0, .* reads 1: .*python -m benchmarks mnist --data-dir DIR --out"):
            read()


def test_a_file_of_another_code_version_is_refused_by_tables_and_runs(tmp_path: Path) -> None:
    path = tmp_path / "mnist.json"
    write(path, "mnist", Result({}, [row("sgd", 0.1)]))
    assert json.loads(path.read_text())["code"] == CODE
    path.write_text(path.read_text().replace(f'"code": {CODE}', f'"code": {CODE + 1}'))
    for use in (
        lambda: tables.table("mnist", folder=tmp_path),
        lambda: write(path, "mnist", Result({}, [row("sgd", 0.1)])),
    ):
        with pytest.raises(
            SystemExit, match=rf"code version {CODE + 1}, .* reads {CODE}: .*python -m benchmarks mnist --data-dir"
        ):
            use()


def test_figures_are_drawn_from_what_is_there(tmp_path: Path) -> None:
    few_rows = [row(method, 1, limit=limit, nll_tempered=1 / limit) for method in ("gbp", "vi") for limit in (80, 640, 160)]
    store(tmp_path, "lowdata", few_rows)
    accuracies = {("graph", 60_000): (0.98, 0.99), ("graph", 300): (0.9,), ("cnn_adam", 300): (0.7,)}
    rows = [
        {"method": method, "net": "mnist", "limit": limit, "seed": seed, "accuracy": accuracy, "processor_seconds": 10.0}
        for (method, limit), own in accuracies.items()
        for seed, accuracy in enumerate(own)
    ]
    store(tmp_path, "graph_mnist", rows)
    assert [path.name for path in figures.draw(tmp_path, tmp_path / "figures")] == ["lowdata.png", "graph_mnist.png"]
    few = figures.low_data(tmp_path)
    assert few is not None
    nll = few.axes[1]
    assert list(nll.lines[0].get_xdata()) == [80, 160, 640]
    assert list(nll.lines[0].get_ydata()) == [1 / 80, 1 / 160, 1 / 640]
    assert [text.get_text() for text in few.legends[0].get_texts()] == ["torch_gbp", "mean-field VI"]
    once = figures.one_pass(tmp_path)
    assert once is not None
    assert [text.get_text() for text in once.legends[0].get_texts()] == ["published", "factor graph", "CNN, Adam"]


def test_one_pass_over_images_is_told_by_number_and_method() -> None:
    accuracies = {("graph", 60_000): (0.98, 0.99), ("graph", 300): (0.9,), ("cnn_adam", 300): (0.7,)}
    rows = [
        {"method": method, "net": "mnist", "limit": limit, "seed": seed, "accuracy": accuracy, "processor_seconds": 10.0}
        for (method, limit), own in accuracies.items()
        for seed, accuracy in enumerate(own)
    ]
    lines = graph_tables.one_pass(rows).splitlines()
    published = "published: factor graph | published: random layers | published: Lucibello et al."
    assert lines[0] == f"| data | images | factor graph | CNN, Adam | {published} | factor graph, CPU seconds |"
    assert lines[2:] == [
        "| MNIST | 300 | 90.00 | 70.00 * | - | - | - | 10 |",
        "| MNIST | 60,000 | 98.50 ± 0.50 | - | 98.16 | 98.11 | 97.40 | 10 ± 0 |",
    ]


def test_no_two_methods_look_alike() -> None:
    assert len({figures.LOOKS[method] for method in METHODS}) == len(METHODS)
    ours = {figures.LOOKS[method][0] for method in METHODS if method.startswith("gbp")}
    assert ours == {figures.OURS} and figures.LOOKS["adamw"][0] not in ours


def test_no_committed_figure_is_empty() -> None:
    for path in figures.FIGURES.iterdir():
        assert path.stat().st_size > 0 and path.suffix in (".png", ".gif"), path.name
        with Image.open(path) as picture:
            picture.load()  # complete to the last pixel
            assert picture.convert("L").getextrema() != (255, 255), path.name


def test_a_figure_that_cannot_be_drawn_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: Figure, path: Path, **__: object) -> None:
        path.write_bytes(b"half a picture")
        raise KeyboardInterrupt

    store(tmp_path, "lowdata", [row("adamw", 0.5, nll_tempered=0.5), row("gbp", 0.3, nll_tempered=0.3)])
    old = figures.draw(tmp_path, tmp_path / "figures")[0].read_bytes()
    monkeypatch.setattr(Figure, "savefig", killed)
    with pytest.raises(KeyboardInterrupt):
        figures.draw(tmp_path, tmp_path / "figures")
    assert (tmp_path / "figures" / "lowdata.png").read_bytes() == old


def test_the_table_of_runs_tells_what_was_run_on_what_and_how_long(tmp_path: Path) -> None:
    rows = [row("adamw", 0.5, train_seconds=3600.0), row("gbp", 0.3, seed=1, processor_seconds=1800.0), row("sgd", 0.3)]
    write(tmp_path / "mnist.json", "mnist", Result({}, rows))
    store(tmp_path, "fashion", [{"nll": 1.0}])
    head, _, first, second = tables.table("runs", folder=tmp_path).splitlines()
    assert head.startswith("| file | rows | methods | seeds | hours of training | code | torch")
    assert first.startswith("| `fashion.json` | 1 | - | - | - | 1 | - | - | - | `python -m benchmarks fashion` |")
    assert second.startswith(f"| `mnist.json` | 3 | 3 | 2 | 1.50 | {CODE} | {torch.__version__} | ")
