"""Names on the command line: shipped configurations by name, wrong names with the right ones, errors as text."""

import pytest
from lightning_helpers import IGNORED, write_image_sets

from lightning_modules.cli import main, run
from lightning_modules.commands.names import CONFIGS, KNOWN, config_file, resolved
from torch_gbp.errors import InvalidInput

DEPRECATED = "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"  # Lightning calls a function that will go away
pytestmark = [pytest.mark.filterwarnings(text) for text in (*IGNORED, DEPRECATED)]
SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "GBPClasifier"], r"--model GBPClasifier; did you mean GBPClassifier\?.*GBPRegressor"),
        (["--model=lightning_modules.GBPClasifier"], r"did you mean lightning_modules\.GBPClassifier\?"),
        (["--data", "MNSIT"], r"--data MNSIT; did you mean MNIST\?.*CIFAR10"),
        (["--model.model", "LeNt5"], r"did you mean LeNet5\?.*ViT"),
        (["--model.model=lightning_modules.networks.LeNt5"], r"did you mean lightning_modules\.networks\.LeNet5\?"),
        (["--model.init_args.model.class_path=lightning_modules.networks.LeNt5"], r"networks\.LeNet5"),
        (["--model.likelihood", "Sofmax"], r"did you mean Softmax\?"),
        (["--model.store", "Batch"], r"BatchSites"),
        (["--trainer.callbacks", "PredictionFiles"], r"did you mean PredictionFile\?"),
        (["--config", "lenett"], r"configuration lenett; did you mean lenet\?.*csv"),
        (["--model.model", "nowhere.Net"], r"cannot be imported \(in --model\.model nowhere\.Net\)"),
    ],
)
def test_a_wrong_name_lists_the_right_ones(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        main(["fit", *arguments])


def test_a_wrong_name_in_a_configuration(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("model:\n  class_path: GBPClassifier\n  init_args:\n    model:\n      class_path: LeNt5\n")
    with pytest.raises(InvalidInput, match=r"--model\.model LeNt5; did you mean LeNet5"):
        main(["fit", f"--config={path}", "--data=Digits"])


def test_what_is_no_name_stays():
    own = [
        "fit",
        "--model.model",
        '{"class_path": "x"}',
        "--model.store=null",
        "--trainer.max_epochs",
        "-1",
    ]
    assert resolved(own)[1:] == [
        '--model.model={"class_path": "x"}',
        "--model.store=null",
        "--trainer.max_epochs=-1",
    ]


@pytest.mark.parametrize("key", KNOWN)
def test_every_known_path_leads_to_a_class(key):
    from pydoc import locate

    assert all(callable(locate(path)) for path in KNOWN[key].values())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_is_short_and_its_classes_are_there(name):
    lines = config_file(name).read_text().splitlines()
    assert len(lines) <= 25
    assert f"torch-gbp fit --config {name}" in lines[1]


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_networks_take_the_sizes_of_the_data(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["torch-gbp"])
    write_image_sets(tmp_path)
    off = ["--trainer.fast_dev_run=true", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"]
    fitted = main(["fit", "--config", name, "--data=Digits", *off])
    assert fitted.model.inputs == ((1, 8, 8), "float32")
    fitted = main(["fit", "--config", name, f"--data.data_dir={tmp_path}", "--data.download=false", *off])
    assert fitted.model.inputs == ((1, 28, 28), "float32")


def test_the_program_prints_an_error_without_traceback(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["torch-gbp", "fit", "--config", "csv", "--data.path", "none.csv", "--data.target", "y"])
    with pytest.raises(SystemExit, match=r"^InvalidInput: the file is missing \(in none\.csv\)"):
        run()
    (tmp_path / "holes.csv").write_text("x,y\n1,2\n3,\n")
    monkeypatch.setattr("sys.argv", ["torch-gbp", "fit", "--config", "csv", "--data.path", "holes.csv", "--data.target", "y"])
    with pytest.raises(SystemExit, match=r"must be a finite number \(in holes\.csv, row 2, column 'y'\)"):
        run()
    network = ["--model", "GBPClassifier", "--model.model", "Conv890k", "--model.model.in_shape", "[1, 4, 4]"]
    monkeypatch.setattr("sys.argv", ["torch-gbp", "fit", *network, "--data", "Digits"])
    with pytest.raises(SystemExit, match=r"^InvalidInput: the images do not go through the convolutions"):
        run()
