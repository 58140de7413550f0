"""From the command line: a table fitted, tested, predicted and exported; what is wrong with files of inputs."""

import csv

import numpy as np
import pytest
import torch
from lightning_helpers import IGNORED, same_preparation
from torchvision.transforms.v2.functional import to_pil_image

import torch_gbp as gbp
from lightning_modules import load_module
from lightning_modules.checkpoints import read_record
from lightning_modules.cli import main
from torch_gbp.errors import InvalidInput

DEPRECATED = "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"  # Lightning calls a function that will go away
MOVED = "ignore:The dirpath has changed from"
pytestmark = [pytest.mark.filterwarnings(text) for text in (*IGNORED, DEPRECATED, MOVED, "ignore:Checkpoint directory")]
QUICK = ["--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.enable_model_summary=false", "--trainer.logger=false"]


def write_table(path, classes, rows=80):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 2)) * [1, 100] + [5, 0]
    y = 3 * x[:, 0] - 0.02 * x[:, 1] + 0.1 * generator.normal(size=rows)
    targets = [["low", "mid", "high"][int(np.clip(value // 4 - 2, 0, 2))] for value in y] if classes else y
    path.write_text("width,weight,price\n" + "".join(f"{a},{b},{t}\n" for (a, b), t in zip(x, targets, strict=True)))
    return torch.from_numpy(x)


@pytest.fixture(scope="module", params=["csv", "csv_classes"])
def fitted(request, tmp_path_factory):
    """Folder, inputs and checkpoint of a fit by a shipped configuration; what it printed."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["torch-gbp"])
        x = write_table(folder / "train.csv", classes="classes" in request.param)
        command = ["fit", "--config", request.param, "--data.path", "train.csv", "--data.target", "price"]
        main([*command, "--model.model.hidden=[8]", *QUICK])
    (checkpoint,) = folder.rglob("*.ckpt")
    return folder, x, checkpoint


@pytest.fixture
def inside(fitted, monkeypatch):
    folder, x, checkpoint = fitted
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["torch-gbp"])
    return x, str(checkpoint)


def test_predict_needs_the_checkpoint_and_the_inputs_alone(inside, tmp_path, capsys):
    x, checkpoint = inside
    (tmp_path / "new.csv").write_text(
        "weight,number,width\n" + "".join(f"{b},{k},{a}\n" for k, (a, b) in enumerate(x[:9].tolist()))
    )
    main(["predict", checkpoint, str(tmp_path / "new.csv"), "--out", str(tmp_path / "found.csv")])
    assert "does not use: number" in capsys.readouterr().err
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    module = load_module(checkpoint)
    with torch.no_grad():  # the standardisation by hand
        values = torch.tensor([[float(a), float(b)] for a, b in x[:9].tolist()], dtype=torch.float64)
        found = module.predict(((values - module.preparation.mean) / module.preparation.std).float())
    if module.preparation.classes:
        assert module.preparation.classes == ("high", "low", "mid")
        assert [row["class"] for row in rows] == [module.preparation.classes[k] for k in found.probs.argmax(1)]
        own = torch.tensor([[float(row[f"p({name})"]) for name in ("high", "low", "mid")] for row in rows])
        torch.testing.assert_close(own, found.probs, atol=1e-5, rtol=1e-4)
        parts = sum(float(row["epistemic"]) + float(row["aleatoric"]) for row in rows)
        assert parts == pytest.approx(float(torch.distributions.Categorical(found.probs).entropy().sum()), rel=0.05)
    else:
        mean = found.distribution.mean * module.target_std + module.target_mean
        own = torch.tensor([[float(row[name]) for name in ("mean", "std", "epistemic_std", "aleatoric_std")] for row in rows])
        torch.testing.assert_close(own[:, :1], mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(own[:, 1].square(), own[:, 2:].square().sum(1), atol=1e-4, rtol=1e-4)
        assert float((own[:, 0] - (3 * values[:, 0] - 0.02 * values[:, 1])).abs().mean()) < 4  # in the targets' units


def test_a_tensor_gives_the_same_as_a_table_and_pt_the_tensors(inside, tmp_path):
    x, checkpoint = inside
    np.save(tmp_path / "new.npy", x.numpy())
    torch.save(x, tmp_path / "new.pt")
    for name in ("new.npy", "new.pt", "train.csv"):
        main(
            ["predict", checkpoint, name if name == "train.csv" else str(tmp_path / name), "--out", str(tmp_path / f"{name}.pt")]
        )
    first, *others = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("new.npy", "new.pt", "train.csv"))
    for other in others:
        torch.testing.assert_close(other, first, atol=1e-5, rtol=1e-4)


def test_the_checkpoint_is_tested_on_the_data_of_its_run(inside, capsys):
    _, checkpoint = inside
    tested = main(["test", checkpoint, "--trainer.logger=false", "--trainer.accelerator=cpu"])
    assert tested.datamodule.path == "train.csv" and len(tested.datamodule.parts.test) == 8
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("test/")]
    assert len(lines) == len(tested.scores) == len({line.split()[0] for line in lines})


def test_the_exported_program_has_the_same_numbers(inside, tmp_path):
    for name in ("onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    import onnxruntime

    x, checkpoint = inside
    with pytest.MonkeyPatch.context():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own exporter
            main(["export", checkpoint, "--out", str(tmp_path / "network.onnx")])
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"))
    outputs = [output.name for output in session.get_outputs()]
    torch.save(x, tmp_path / "new.pt")
    main(["predict", checkpoint, str(tmp_path / "new.pt"), "--out", str(tmp_path / "found.pt")])
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for values in (x, x[:1], x.repeat(200, 1)):  # batches of any size
        own = session.run(None, {"values": values.float().numpy()})
        for name, value in zip(outputs, own, strict=True):
            expected = found[name][: len(values)].repeat(max(1, len(values) // len(x)), 1)
            torch.testing.assert_close(torch.from_numpy(value), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("new.csv", "width,price\n1,2\n", r"trained on are missing.*no \['weight'\]"),
        ("new.csv", "width,weight\n1,2\n3,\n", r"row 2, column 'weight'\)\. Got: ''"),
        ("new.csv", "width,weight\n1,red\n", r"row 1, column 'weight'\)\. Got: 'red'"),
        ("new.txt", "1 2\n", "inputs are one .csv"),
        ("new.pt", "1 2\n", "must hold one tensor"),
        ("new.npy", "1 2\n", "must hold one tensor"),
    ],
)
def test_wrong_inputs_are_named_before_anything_is_written(inside, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=message):
        main(["predict", inside[1], str(tmp_path / name), "--out", str(tmp_path / "found.csv")])
    assert not (tmp_path / "found.csv").exists()


def test_wrong_tensors_and_formats(inside, tmp_path):
    for values, message in (
        (torch.zeros(3, 5), r"inputs must be \(n, 2\).*Got: shape \(3, 5\)"),
        (torch.tensor([[1.0, 2.0], [1.0, torch.nan]]), r"NaN or Inf in example 1"),
    ):
        torch.save(values, tmp_path / "new.pt")
        with pytest.raises(InvalidInput, match=message):
            main(["predict", inside[1], str(tmp_path / "new.pt"), "--out", str(tmp_path / "found.csv")])
    with pytest.raises(InvalidInput, match=r"\.csv or \.pt"):
        main(["predict", inside[1], "train.csv", "--out", str(tmp_path / "found.xlsx")])
    with pytest.raises(InvalidInput, match=r"file of inputs is missing"):
        main(["predict", inside[1], "none.csv"])


def test_pictures_and_ways_of_predicting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["torch-gbp"])
    main(["fit", "--config=lenet", "--data=Digits", "--trainer.limit_train_batches=3", *QUICK])
    (checkpoint,) = map(str, tmp_path.rglob("*.ckpt"))
    assert read_record(checkpoint).data["class_path"] == "lightning_modules.Digits"
    pictures = torch.randint(0, 17, (3, 1, 8, 8), dtype=torch.uint8)
    for number, picture in enumerate(pictures):
        to_pil_image(picture).save(f"{number}.png")
    torch.save(pictures, "all.pt")
    main(["predict", checkpoint, "0.png", "1.png", "2.png", "--out", "pictures.pt"])
    main(["predict", checkpoint, "all.pt", "--out", "all_found.pt"])
    torch.testing.assert_close(torch.load("pictures.pt"), torch.load("all_found.pt"), atol=0, rtol=0)
    main(["predict", checkpoint, "all.pt", "--out", "sampled.pt", "--how", "samples", "--samples", "4"])
    assert not torch.equal(torch.load("sampled.pt")["probabilities"], torch.load("all_found.pt")["probabilities"])
    to_pil_image(torch.zeros(1, 9, 8, dtype=torch.uint8)).save("tall.png")
    with pytest.raises(InvalidInput, match=r"one size \(in tall\.png\)"):
        main(["predict", checkpoint, "0.png", "tall.png"])
    with pytest.raises(InvalidInput, match=r"shaped as those.*trained on \(1, 8, 8\)"):
        main(["predict", checkpoint, "tall.png"])


def test_the_next_task_starts_at_the_posterior_of_the_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["torch-gbp"])
    (tmp_path / "first").mkdir()
    rows = [f"{x},{7 - x},{'ab'[x > 3]}\n" for x in range(8)]
    (tmp_path / "one.csv").write_text("x,y,kind\n" + "".join(5 * rows))
    (tmp_path / "two.csv").write_text("y,x,kind\n" + "".join(f"{7 - x},{x},{'ba'[x > 5]}\n" for x in range(8)) * 3)
    column = ["--data.target=kind", "--trainer.limit_val_batches=0", *QUICK]
    first = main(["fit", "--config=csv_classes", "--data.path=one.csv", "--model.model.hidden=[4]", *column])
    (checkpoint,) = map(str, tmp_path.rglob("*.ckpt"))
    (tmp_path / "one.csv").unlink()
    options = [f"--model.model.path={checkpoint}", f"--data.prepared_as={checkpoint}", "--data.path=two.csv", *column]
    second = main(["fit", "--config=continual", *options, f"--trainer.default_root_dir={tmp_path / 'first'}"])
    before, after = (gbp.marginals(run.model.model) for run in (first, second))
    optimizer = first.model.optimizers()
    heard = optimizer.heard(optimizer.marginals[0])
    assert 0 < heard < 1  # two passes do not tell the average site all
    for name, marginal in before.items():
        prior = after[name].prior_message().belief()
        torch.testing.assert_close(prior.mean, marginal.mean.detach(), atol=1e-5, rtol=1e-4)
        learnt = (marginal.precision - marginal.prior_precision).detach() / heard
        expected = (marginal.prior_precision + learnt).expand_as(prior.mean)
        torch.testing.assert_close((1 / prior.variance).expand_as(prior.mean), expected, atol=1e-4, rtol=1e-3)
    assert same_preparation(second.datamodule.preparation, first.datamodule.preparation)
    x, y = second.datamodule.parts.train.tensors
    inputs = x * first.datamodule.preparation.std + first.datamodule.preparation.mean
    assert bool(((inputs[:, 0] > 5.5).long() == 1 - y).all())  # columns and classes in the order of the first task


def test_another_table_than_that_of_the_checkpoint(inside, tmp_path):
    _, checkpoint = inside
    (tmp_path / "other.csv").write_text("width,height,price\n1,2,low\n3,4,low\n5,6,high\n")
    common = [f"--data.path={tmp_path / 'other.csv'}", "--data.target=price", f"--data.prepared_as={checkpoint}", *QUICK]
    with pytest.raises(InvalidInput, match=r"other columns than those of the checkpoint.*Got: height, weight"):
        main(["fit", "--config=csv_classes", *common])
