"""The command line, in this process: the classes are found by their short names and do what they do in Python."""

import pytest
import torch
from lightning_helpers import IGNORED, write_image_sets

import torch_gbp as gbp
from lightning_modules import GBPClassifier
from lightning_modules.cli import DESCRIPTION, main
from lightning_modules.commands.names import CONFIGS
from lightning_modules.networks import MLP, DigitsConv, FilterResponseNorm

# Lightning calls a function of jsonargparse that will go away.
DEPRECATED = "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"
MOVED = "ignore:The dirpath has changed from"  # the checkpoint is read by another run than the one that wrote it
pytestmark = [pytest.mark.filterwarnings(text) for text in (*IGNORED, DEPRECATED, MOVED)]


@pytest.fixture
def data_dir(tmp_path):
    write_image_sets(tmp_path)
    return tmp_path


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """Options that switch off output; everything that is written lands in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning_modules"])  # Lightning warns when it finds pytest's own arguments
    root = f"--trainer.default_root_dir={tmp_path}"
    return ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu", root]


def test_the_example_of_the_help_trains_tests_and_predicts(data_dir, quiet, tmp_path, capsys):
    example = next(line for line in DESCRIPTION.splitlines() if " fit --model " in line).strip().removeprefix("torch-gbp ")
    arguments = example.replace("DIR", str(data_dir)).split()
    small = ["--model.model.hidden=[4]", "--data.download=false"]
    fitted = main([*arguments, *small, *quiet])
    assert isinstance(fitted.model, GBPClassifier) and isinstance(fitted.model.model, MLP)
    assert fitted.trainer.global_step == 1  # 11 of 12 images train: one batch
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    common = [
        "--model=GBPClassifier",
        "--model.model=lightning_modules.networks.MLP",
        "--data=MNIST",
        f"--data.data_dir={data_dir}",
        *small,
        *quiet,
    ]
    tested = main(["test", *common, "--data.ood=[notMNIST]", f"--ckpt_path={checkpoint}", "--trainer.logger=false"])
    assert 0 <= tested.trainer.callback_metrics["test/ood_auroc/notMNIST"] <= 1
    torch.testing.assert_close(tested.model.state_dict(), fitted.model.state_dict(), atol=0, rtol=0)
    writer = ["--trainer.callbacks=PredictionFile", f"--trainer.callbacks.path={tmp_path / 'p.pt'}", "--trainer.logger=false"]
    main(["predict", *common, *writer, f"--ckpt_path={checkpoint}"])
    (probabilities,) = torch.load(tmp_path / "p.pt", weights_only=True)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(5))


def test_adamw_and_options_of_likelihood_and_store(quiet):
    off = ["--trainer.logger=false", "--trainer.enable_checkpointing=false", "--trainer.fast_dev_run=true"]
    plain = [
        "--model=AdamWClassifier",
        "--model.model=DigitsConv",
        "--model.model.gbp=false",
        "--data=Digits",
    ]
    augmented = ["--data.crop=1", "--data.flip=true", "--data.label_smoothing=0.1"]
    data = main(["fit", *plain, *augmented, *quiet, *off]).datamodule
    assert (data.crop, data.flip, data.label_smoothing) == (1, True, 0.1)
    options = [
        "--model.likelihood=Softmax",
        "--model.likelihood.power=3",
        "--model.store=BatchSites",
        "--model.model.prior.scale=0.5",
    ]
    bayes = [
        "--model=GBPClassifier",
        "--model.model=DigitsConv",
        "--data=Digits",
        "--data.fixed_batches=true",
    ]
    fitted = main(["fit", *bayes, *options, *quiet, *off])
    assert fitted.model.likelihood.power == 3.0
    assert type(fitted.model.store).__name__ == "BatchSites"
    own, default = (next(iter(gbp.marginals(model).values())) for model in (fitted.model.model, DigitsConv()))
    torch.testing.assert_close(own.prior_precision * 5, default.prior_precision)


FILTER_RESPONSE = ["norm=lightning_modules.networks.FilterResponseNorm", "activation=torch.nn.SiLU"]


@pytest.mark.parametrize(("name", "network"), [("resnet20", []), ("resnet20", FILTER_RESPONSE), ("vit", [])])
def test_the_configs_of_any_network_train(data_dir, quiet, name, network):
    """Two batches of tiny synthetic images, by the networks as configured."""
    arguments = [f"--config={name}", f"--data.data_dir={data_dir}", "--data.batch_size=4", *quiet]
    arguments += ["--data.download=false", "--data.accept_altered=true", "--trainer.limit_train_batches=2"]
    arguments += ["--trainer.max_epochs=1", "--trainer.logger=false", "--trainer.enable_checkpointing=false"]
    fitted = main(["fit", *arguments, *(f"--model.model.network.{option}" for option in network)])
    assert any(isinstance(layer, FilterResponseNorm) for layer in fitted.model.modules()) == bool(network)
    assert fitted.trainer.global_step == 2 and fitted.datamodule.crop == 4
    own = gbp.marginals(fitted.model.model)
    told = [bool((marginal.precision > marginal.prior_precision).any()) for marginal in own.values()]
    assert len(own) > 15 and sum(told) > len(told) / 2  # queries and keys hear next to nothing in two batches
    assert 0 <= fitted.trainer.callback_metrics["val/accuracy"] <= 1
    assert len((CONFIGS / f"{name}.yaml").read_text().splitlines()) <= 25


def test_help_keeps_the_lines_of_its_examples(quiet, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert DESCRIPTION.strip() in capsys.readouterr().out
