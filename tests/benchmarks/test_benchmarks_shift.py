"""Out-of-distribution sets, corrupted images and untouched data: what is made, what is scored, what the tables tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks import contest, corruptions, ood, shift_tables, tables, untouched
from benchmarks.corruptions import KINDS, corrupted, kept, mean_over_kinds
from benchmarks.methods import installed
from benchmarks.results import Request, Row
from benchmarks.tasks import TASKS, Net, Plan, Task
from lightning_modules.data.images import Images, load_digits
from lightning_modules.networks import lenet5, mlp

HAS = pytest.mark.skipif(
    not installed(["x"], {"x": contest.Entrant("", object, package="imagecorruptions")}), reason="no package"
)  # type: ignore[arg-type]


def images(size: int, channels: int = 3) -> torch.Tensor:
    """Smooth random images, (n, channels, 32, 32)."""
    rough = torch.rand(size, channels, 4, 4, generator=torch.Generator().manual_seed(1))
    return (255 * torch.nn.functional.interpolate(rough, 32, mode="bilinear")).to(torch.uint8)


@pytest.fixture
def digits_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST's task on digits and a small network, its near sets made of them."""
    net = Net("small", lambda: mlp(64, (16,)), [Plan(4, None, 16, 16)])
    own = Task("digits", lambda *_: load_digits(), {}, {"mlp": net})
    monkeypatch.setitem(TASKS, "mnist", own)
    monkeypatch.setitem(ood.NEAR, "mnist", ("shuffled", "inverted"))
    monkeypatch.setattr(contest, "committed", lambda *_: [])


@pytest.mark.usefixtures("digits_task")
def test_every_score_is_told_of_every_set(tmp_path: Path) -> None:
    request = Request(tmp_path, [0], quick=True, net="mnist_mlp", methods=["gbp", "adamw", "ensemble"])
    rows = list(ood.rows(request))
    scores = {"gbp": list(ood.SCORES), "adamw": ["entropy", "msp", "energy", "features"], "ensemble": ["entropy", "msp"]}
    sets = ["shuffled", "inverted", "noise", "constant", "x 10"]
    assert {(row["method"], row["ood"], row["score"]) for row in rows} == {
        (method, name, score) for method, own in scores.items() for name in sets for score in own
    }
    assert all(row["data"] == "mnist" and row["limit"] == ood.QUICK_LIMIT and row["chosen_by"] for row in rows)
    far = {row["score"]: row["auroc"] for row in rows if (row["method"], row["ood"]) == ("gbp", "x 10")}
    assert far["features"] > 0.95 and far["entropy"] < 0.5  # ten times the images: the predictive is surer


@pytest.mark.usefixtures("digits_task")
def test_detection_finds_the_images_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_values: dict[str, list[torch.Tensor]] = {}
    monkeypatch.setattr(ood, "detection_scores", lambda a, b: kept_values.setdefault("all", []).append((a, b)) or {"AUROC": 0.0})
    list(ood.rows(Request(tmp_path, [0], quick=True, net="mnist_mlp", methods=["adamw"])))
    monkeypatch.undo()
    assert len(kept_values["all"]) == 4 * 5
    for inside, outside in kept_values["all"]:
        values = np.concatenate([inside, outside])
        truth = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
        found = ood.detection_scores(inside, outside)
        assert found["AUROC"] == pytest.approx(roc_auc_score(truth, values))
        assert found["AUPR"] == pytest.approx(average_precision_score(truth, values))


def test_greys_go_from_the_darkest_to_the_brightest_pixel() -> None:
    made = ood.greys(torch.tensor([-0.5, 2.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4))
    assert made.shape == (ood.GREYS, 3, 4, 4) and (made.amin((1, 2, 3)) == made.amax((1, 2, 3))).all()
    assert (float(made[0, 0, 0, 0]), float(made[-1, 0, 0, 0])) == (-0.5, 2.0)


@HAS
@pytest.mark.filterwarnings("ignore")
def test_corruptions_grow_with_severity_and_are_the_same_in_every_call() -> None:
    clean = images(3)
    for kind in KINDS:
        if kind != "glass_blur":  # compiles for 20 s
            mild, strong = (corrupted(clean, kind, severity) for severity in (1, 5))
            assert mild.dtype == torch.uint8 and mild.shape == clean.shape
            state = np.random.get_state()[1].copy()  # noqa: NPY002
            assert torch.equal(corrupted(clean, kind, 5), strong), kind
            assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
            change = [(made.float() - clean.float()).square().mean() for made in (mild, strong)]
            assert 0 < change[0] < change[1], kind


@HAS
@pytest.mark.filterwarnings("ignore")
def test_a_corrupted_set_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "contrast_3.pt"
    made = kept(path, images(2), "contrast", 3)
    again = kept(path, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "contrast", 3)
    assert torch.equal(made, again) and [own.name for own in path.parent.iterdir()] == [path.name]


@HAS
@pytest.mark.filterwarnings("ignore")
def test_networks_are_scored_on_clean_and_corrupted_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Images(images(60), torch.arange(60) % 10, images(20), torch.arange(20) % 10)
    task = Task("", lambda *_: own, {}, {"lenet": Net("LeNet-5", lambda: lenet5((3, 32, 32)), [Plan(1)])})
    monkeypatch.setitem(TASKS, "cifar10", task)
    monkeypatch.setattr(corruptions, "KINDS", ("contrast", "brightness"))
    monkeypatch.setattr(corruptions, "SEVERITIES", (1, 5))
    case = {"net": "lenet", "limit": 60, "seed": 0, "epochs": 1, "nll": 1.0, "settings": {"lr": 1e-3, "weight_decay": 0.01}}
    monkeypatch.setattr(contest, "committed", lambda *_: [{"method": "adamw", **case, "temperature": 2.0}])
    rows = list(corruptions.rows(Request(tmp_path, [0], methods=["gbp", "adamw"])))
    told = [("none", 0), ("contrast", 1), ("contrast", 5), ("brightness", 1), ("brightness", 5)]
    assert [(row["method"], row["corruption"], row["severity"]) for row in rows] == [
        (m, *t) for m in ("gbp", "adamw") for t in told
    ]
    assert all("nll_tempered" in row for row in rows[5:]) and not any("nll_tempered" in row for row in rows[:5])
    means = mean_over_kinds(rows)
    assert [(row["method"], row["severity"]) for row in means] == [(m, s) for m in ("gbp", "adamw") for s in (0, 1, 5)]
    assert means[2]["nll"] == pytest.approx((rows[2]["nll"] + rows[4]["nll"]) / 2)
    assert len(mean_over_kinds(rows[:4])) == 2  # of severity 5 a kind is missing
    lines = shift_tables.corrupted(rows).splitlines()
    assert lines[0].startswith("| net | method | NLL, clean | NLL, severity 1 | NLL, severity 5 | NLL, temperature, clean")
    assert len(lines) == 4 and f"{means[2]['nll']:.3f}" in lines[2]


def test_a_table_tells_auroc_and_false_alarms_of_every_set() -> None:
    case: Row = {"data": "mnist", "net": "mlp", "limit": 10_000, "seed": 0, "epochs": 8, "method": "gbp"}
    rows = [
        {**case, "score": "entropy", "ood": name, "auroc": a, "fpr95": f}
        for name, a, f in (("notMNIST", 0.9, 0.4), ("x 10", 0.2, 1.0))
    ]
    head, _, line = shift_tables.detection(rows).splitlines()
    sets = ["near: FashionMNIST", "near: notMNIST", "near: MNIST", "far: noise", "far: constant", "far: x 10"]
    assert head == f"| {' | '.join(['trained on', 'method', 'score', *sets])} |"
    assert line.endswith("| **torch_gbp** | entropy | - | 0.900 / 40 % | - | - | - | 0.200 / 100 % |")


@pytest.mark.parametrize("name", ["wine", "iris", "cancer", "digits"])
def test_the_tables_that_scikit_learn_ships_are_there(name: str) -> None:
    x, y = untouched.CASES[name].load(Path())
    network = untouched.CASES[name].net.make()
    assert network(x[:2]).shape == (2, int(y.max()) + 1) and len(x) == len(y) and x.isfinite().all()


def test_a_table_of_numbers_is_told_in_quarters_or_by_its_own_values(tmp_path: Path) -> None:
    folder = tmp_path / "UCI" / "yacht"
    folder.mkdir(parents=True)
    target = torch.tensor([5.0, 7.0, 3.0, 3.0, 9.0, 7.0, 1.0, 4.0])
    rows = torch.stack([torch.arange(8.0), target], 1).tolist()
    (folder / "data.txt").write_text("\n".join(" ".join(map(str, row)) for row in rows))
    for name, indices in {"features": [0], "target": [1], "train_0": range(6), "test_0": [6, 7]}.items():
        (folder / f"index_{name}.txt").write_text("\n".join(map(str, indices)))
    x, y = untouched.CASES["yacht"].load(tmp_path)
    assert x.flatten().tolist() == list(range(8)) and x.dtype == torch.float32
    assert y.tolist() == [2, 2, 0, 0, 3, 2, 0, 1]  # of 1 3 3 4 5 7 7 9 the quarters end with 3, 4.5 and 7
    assert untouched._uci("yacht", quarters=False)(tmp_path)[1].tolist() == [3, 4, 1, 1, 5, 4, 0, 2]


def test_a_search_on_untouched_data_sees_no_row_that_is_scored_at_the_end() -> None:
    x = torch.arange(120.0).view(-1, 1) * torch.tensor([1.0, -3.0]) + 7
    rows = (x, torch.arange(120))
    test, search = (untouched.split(rows, held_out) for held_out in (False, True))
    assert [len(part.y) for part in (test, search)] == [80, 60] and [len(part.scored_y) for part in (test, search)] == [40, 20]
    assert set(search.y.tolist()) | set(search.scored_y.tolist()) == set(test.y.tolist())
    assert len(set(test.y.tolist()) | set(test.scored_y.tolist())) == 120
    for part in (test, search):
        mean, std = x[part.y].mean(0), x[part.y].std(0)
        torch.testing.assert_close(part.scored_x, (x[part.scored_y] - mean) / std)
        torch.testing.assert_close(part.x, (x[part.y] - mean) / std)


def test_images_have_one_mean_for_all_pixels() -> None:
    pixels = torch.rand(30, 1, 4, 4) * torch.linspace(1, 9, 4)
    found = untouched.split((pixels, torch.arange(30)), False).x
    assert float(found.mean()) == pytest.approx(0, abs=1e-5) and float(found.std()) == pytest.approx(1, abs=1e-5)
    assert found.mean((0, 1, 2)).abs().max() > 0.1


def test_a_column_that_is_constant_in_training_stays_within_bounds_where_it_is_scored() -> None:
    x = torch.zeros(30, 2)
    x[:, 0] = torch.arange(30)
    scored = torch.randperm(30, generator=torch.Generator().manual_seed(untouched.SUBSET_SEED))[:10]
    x[scored, 1] = 3.0
    found = untouched.split((x, torch.arange(30) % 2), False)
    assert found.scored_x[:, 1].tolist() == [3.0] * 10 and not found.x[:, 1].any()


def test_untouched_data_has_a_search_and_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "committed", lambda *_: [])
    request = Request(tmp_path, [0], quick=True, net="iris", methods=["gbp", "adamw"])
    searched = list(untouched.CONTEST.search(request).rows)
    assert [row["method"] for row in searched] == ["adamw", "gbp"]
    rows = list(untouched.CONTEST.run(request).rows)
    assert [row["method"] for row in rows] == ["gbp", "adamw"] and all(row["limit"] == 100 for row in rows)
    assert (
        tables.comparison("untouched", rows)
        .splitlines()[2]
        .startswith("| iris: MLP 4-64-64-3, 100 images, 2 passes | **torch_gbp** |")
    )
