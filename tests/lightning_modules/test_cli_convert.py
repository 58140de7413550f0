"""`torch-gbp convert`: torch networks, with weights or without, as checkpoints that train, predict and load."""

import pytest
import torch
from lightning_helpers import IGNORED, Blobs, trainer
from torch import nn

import torch_gbp as gbp
from lightning_modules import GBPClassifier, GBPRegressor, load_module, network_of
from lightning_modules.cli import main
from lightning_modules.networks import mlp
from torch_gbp.errors import InvalidInput

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]
SMALL = ["--init", '{"inputs": 2, "hidden": [4], "outputs": 3}']


def mean_of(output):
    return getattr(output, "mean", output) if isinstance(output, gbp.Gaussian) else output


def test_a_torchvision_model_by_its_name(tmp_path, capsys):
    out = tmp_path / "network.ckpt"
    torch.manual_seed(3)
    main(["convert", "squeezenet1_1", "--init", '{"num_classes": 4}', "--out", str(out)])
    printed = capsys.readouterr().out
    module = load_module(out)
    assert printed.startswith(str(gbp.summary(module.model))) and isinstance(module, GBPClassifier)
    import torchvision

    torch.manual_seed(3)
    plain = torchvision.models.squeezenet1_1(num_classes=4).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(module.model(x), plain(x))
    assert len(gbp.marginals(module.model)) == 26  # every convolution


def test_weights_of_a_file_and_training_from_there(tmp_path):
    plain = mlp(2, (4,), 3)
    torch.save({"state_dict": {f"model.{name}": value for name, value in plain.state_dict().items()}}, tmp_path / "weights.pt")
    weights = ["--weights", str(tmp_path / "weights.pt")]
    main(["convert", "lightning_modules.networks.mlp", *SMALL, *weights, "--as_prior", "--out", str(tmp_path / "network.ckpt")])
    network = network_of(str(tmp_path / "network.ckpt"))
    torch.testing.assert_close(network.state_dict()["1.weight"], plain.state_dict()["1.weight"], atol=0, rtol=0)
    centred = gbp.marginals(network)["1.weight"].prior_mean
    torch.testing.assert_close(centred, plain.state_dict()["1.weight"], atol=0, rtol=0)
    module = GBPClassifier(network)
    trainer(4).fit(module, Blobs())
    assert not torch.equal(network.state_dict()["1.weight"], plain.state_dict()["1.weight"])


@pytest.mark.parametrize(
    ("option", "count"), [(["--moments"], 4), (["--last_layer"], 1), (["--adapters", "2"], 4), (["--fresh"], 2)]
)
def test_the_ways_of_conversion(option, count, tmp_path):
    out = tmp_path / "network.ckpt"
    main(["convert", "lightning_modules.networks.mlp", *SMALL, *option, "--kind", "regressor", "--out", str(out)])
    module = GBPRegressor.load_from_checkpoint(out)
    assert len(gbp.marginals(module.model)) == count
    again = network_of(str(out)).eval()
    x = torch.randn(3, 2)
    with torch.no_grad():
        torch.testing.assert_close(mean_of(again(x)), mean_of(module.eval().model(x)), atol=0, rtol=0)
    assert gbp.summary(module.model).frozen == () or option[0] in ("--last_layer", "--adapters")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet81"], r"did you mean resnet\d+\?"),
        (["lightning_modules.networks.LeNt5"], r"did you mean lightning_modules\.networks\.LeNet5\?"),
        (["nowhere.Net"], "the module cannot be imported"),
        (["resnet18", "--init", '{"clases": 3}'], r"cannot be made \(in resnet18\).*clases"),
        (["resnet18", "--weights", "NOTHING"], r"cannot be made \(in resnet18\)"),
    ],
)
def test_wrong_names_and_arguments(arguments, message, tmp_path):
    with pytest.raises(InvalidInput, match=message):
        main(["convert", *arguments, "--out", str(tmp_path / "network.ckpt")])
    assert not (tmp_path / "network.ckpt").exists()


def test_weights_of_another_network(tmp_path):
    torch.save(mlp(2, (5,), 3).state_dict(), tmp_path / "wider.pt")
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "linear.pt")
    (tmp_path / "text.pt").write_text("none")
    for name, message in (
        ("wider", r"other shapes \['1\.bias'"),
        ("linear", r"missing .*unexpected"),
        ("text", "no file of weights"),
    ):
        with pytest.raises(InvalidInput, match=message):
            main(["convert", "lightning_modules.networks.mlp", *SMALL, "--weights", str(tmp_path / f"{name}.pt")])
