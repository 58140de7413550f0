"""Checkpoints rebuild their module: nothing but the path, weights_only=True, and clear errors where that cannot be."""

import functools
import os
import pickle
import sys
import types

import pytest
import torch
from lightning_helpers import IGNORED, Blobs, same_preparation, trainer
from torch import nn

import torch_gbp as gbp
from lightning_modules import (
    CSV,
    AdamWClassifier,
    BlockLocalClassifier,
    Digits,
    GBPClassifier,
    GBPRegressor,
    load_module,
    network_of,
)
from lightning_modules.checkpoints import FORMAT, KEY, read_record
from lightning_modules.checkpoints.skeleton import revived, skeleton, trusted
from lightning_modules.networks import BlockResNet, ResNet, ViT, mlp
from torch_gbp.errors import InvalidInput

SIZES = "ignore:.*The number of training batches .*"
pytestmark = [pytest.mark.filterwarnings(text) for text in (*IGNORED, SIZES)]
DIGITS = {"in_shape": (1, 8, 8), "classes": 10}


def vit():
    return gbp.from_torch(ViT(patch=4, width=8, depth=1, heads=2, **DIGITS), fresh=True)


def resnet():
    return gbp.from_torch(ResNet(depth=1, width=4, **DIGITS), fresh=True)


def blocks():
    return BlockResNet((1, 8, 8), depth=1, width=4, blocks=2)


MODULES = {
    "moments": lambda: GBPClassifier(nn.Sequential(nn.Flatten(), gbp.GBPLinear(64, 10)), gbp.Softmax(4.0), lr=0.2, warmup=0.1),
    "normalised": lambda: GBPClassifier(resnet(), store=gbp.AveragedSites()),
    "attention": lambda: GBPClassifier(vit()),
    "adamw": lambda: AdamWClassifier(mlp(64, (8,)), lr=0.01),
    "blocks": lambda: BlockLocalClassifier(blocks()),
}


def trained(module, path, data):
    run = trainer(1, limit_train_batches=3)
    run.fit(module, data)
    run.save_checkpoint(path)
    return module.eval()


def predicted(module, x):
    torch.manual_seed(0)
    with torch.no_grad():
        return module.predictions(x)


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_the_path_alone_gives_the_same_predictions(make, tmp_path):
    data, path = Digits(batch_size=16), tmp_path / "model.ckpt"
    module = trained(make(), path, data)
    module.how, module.samples = ("samples", 3) if isinstance(module, GBPClassifier) else (None, None)
    other = type(module).load_from_checkpoint(path)
    assert same_preparation(other.preparation, data.preparation)
    assert other.inputs == ((1, 8, 8), "float32")
    assert {name: getattr(other, name) for name in module.settings} == {name: getattr(module, name) for name in module.settings}
    module.how, module.samples = getattr(other, "how", None), getattr(other, "samples", None)
    x = data.parts.test.tensors[0][:9]
    torch.testing.assert_close(predicted(other.eval(), x), predicted(module, x), atol=0, rtol=0)
    torch.testing.assert_close(predicted(load_module(path), x), predicted(module, x), atol=0, rtol=0)


def test_the_way_of_predicting_and_a_learnt_noise_come_back(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,price\n" + "".join(f"{i % 7},{i * i % 11},{3 * (i % 7) - i * i % 11}\n" for i in range(60)))
    data, module = CSV(str(path), "price"), GBPRegressor(nn.Sequential(gbp.GBPLinear(2, 8), gbp.GBPReLU(), gbp.GBPLinear(8, 1)))
    module.how, module.samples = "samples", 5
    trained(module, tmp_path / "model.ckpt", data)
    path.unlink()  # the data are not needed
    other = load_module(tmp_path / "model.ckpt")
    assert (other.how, other.samples, other.preparation.columns, other.preparation.target) == ("samples", 5, ("a", "b"), "price")
    x = data.parts.test.tensors[0]
    torch.testing.assert_close(predicted(other, x), predicted(module, x), atol=0, rtol=0)


def test_training_goes_on_from_a_loaded_network(tmp_path):
    trained(MODULES["moments"](), tmp_path / "model.ckpt", Digits(batch_size=16))
    network = network_of(str(tmp_path / "model.ckpt"))
    before = network.state_dict()["1.weight.mean"].clone()
    trained(GBPClassifier(network), tmp_path / "more.ckpt", Digits(batch_size=16))
    assert not torch.equal(before, network.state_dict()["1.weight.mean"])


def test_skeletons_hold_no_numbers_of_the_state_but_all_others():
    holder = gbp.from_torch(nn.Sequential(nn.MultiheadAttention(64, 2), nn.Identity()), fresh=True)
    holder[1].register_buffer("mask", torch.arange(5.0), persistent=False)
    holder[1].half = partial = functools.partial(nn.functional.leaky_relu, negative_slope=0.5)
    data = skeleton({"model": holder})
    assert data.numel() < 4 * 64 * 64  # a quarter of the weights of the attention alone
    holder[1].register_buffer("view", holder[0].in_proj_weight.detach()[0], persistent=False)
    data = skeleton({"model": holder})
    other = revived(data)["model"]
    other.load_state_dict(holder.state_dict())
    torch.testing.assert_close(other.state_dict(), holder.state_dict(), atol=0, rtol=0)
    torch.testing.assert_close(other[1].view, holder[1].view, atol=0, rtol=0)
    assert other[1].mask.tolist() == [0, 1, 2, 3, 4] and other[1].half(torch.tensor(-1.0)) == partial(torch.tensor(-1.0))


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "nowhere.Net",
        "torch.load",
        "torch.hub.load",
        "torch.nn.functional.importlib",
        "torch.nn.functional.handle_torch_function",
        "torch_gbp.errors.checks.math",
        "lightning_modules.cli.main",
        "lightning_modules.checkpoints.reading.load_module",
    ],
)
def test_no_function_of_others_is_trusted(name):
    assert trusted(name) is None


def test_a_checkpoint_runs_no_code_of_its_file(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    module, path = MODULES["moments"](), tmp_path / "model.ckpt"
    trained(module, path, Digits(batch_size=16))
    content = torch.load(path, weights_only=True)
    torch.save({"model": Evil()}, tmp_path / "evil")
    content[KEY]["parts"] = torch.frombuffer(bytearray((tmp_path / "evil").read_bytes()), dtype=torch.uint8)
    torch.save(content, path)
    with pytest.raises(InvalidInput, match=r"needs (posix|os)\.mkdir"):
        load_module(path)
    (tmp_path / "pickled.ckpt").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(InvalidInput, match="no checkpoint that loads safely"):
        load_module(tmp_path / "pickled.ckpt")
    assert not (tmp_path / "was here").exists()


class Own(nn.Module):
    """A network of the user's."""

    def __init__(self):
        super().__init__()
        self.layer = gbp.GBPLinear(2, 3)

    def forward(self, x):
        return self.layer(x)


def test_networks_of_ones_own_need_their_module_imported(tmp_path, monkeypatch):
    room = types.ModuleType("own_networks")
    monkeypatch.setitem(sys.modules, "own_networks", room)
    monkeypatch.setattr(Own, "__module__", "own_networks")
    room.Own = Own
    module = trained(GBPClassifier(Own()), tmp_path / "own.ckpt", Blobs())
    x = torch.randn(4, 2)
    torch.testing.assert_close(predicted(load_module(tmp_path / "own.ckpt"), x), predicted(module, x), atol=0, rtol=0)
    monkeypatch.delitem(sys.modules, "own_networks")
    with pytest.raises(InvalidInput, match=r"needs own_networks\.Own.*import own_networks before"):
        load_module(tmp_path / "own.ckpt")
    again = GBPClassifier.load_from_checkpoint(tmp_path / "own.ckpt", model=Own())
    torch.testing.assert_close(predicted(again.eval(), x), predicted(module, x), atol=0, rtol=0)


def test_a_network_that_cannot_be_pickled_is_asked_for(tmp_path):
    network = nn.Sequential(gbp.GBPLinear(2, 3))
    network.hook = lambda x: x
    trained(GBPClassifier(network), tmp_path / "own.ckpt", Blobs())
    with pytest.raises(InvalidInput, match=r"not in the checkpoint.*lambda.*pass model="):
        GBPClassifier.load_from_checkpoint(tmp_path / "own.ckpt")
    GBPClassifier.load_from_checkpoint(tmp_path / "own.ckpt", model=nn.Sequential(gbp.GBPLinear(2, 3)))


@pytest.fixture
def saved(tmp_path):
    trained(GBPClassifier(nn.Sequential(gbp.GBPLinear(2, 3))), tmp_path / "model.ckpt", Blobs())
    return tmp_path / "model.ckpt"


def test_a_missing_file_names_those_that_are_near(saved):
    with pytest.raises(InvalidInput, match=r"no such checkpoint.*use .*model\.ckpt"):
        GBPClassifier.load_from_checkpoint(saved.parent / "modell.ckpt")
    with pytest.raises(InvalidInput, match="no such checkpoint"):
        load_module(saved.parent / "nowhere" / "modell.ckpt")


def test_files_of_something_else(saved):
    (saved.parent / "cut.ckpt").write_bytes(saved.read_bytes()[:1000])
    torch.save(torch.zeros(3), saved.parent / "tensor.ckpt")
    for name in ("cut", "tensor"):
        with pytest.raises(InvalidInput, match="no checkpoint that loads safely"):
            load_module(saved.parent / f"{name}.ckpt")


def changed(path, **entries):
    content = torch.load(path, weights_only=True)
    content[KEY] |= entries
    torch.save(content, path)


def test_a_later_format_and_none(saved):
    assert read_record(saved).format == FORMAT
    changed(saved, format=FORMAT + 1, version="9.9")
    with pytest.raises(InvalidInput, match=r"later version.*install torch_gbp 9\.9"):
        GBPClassifier.load_from_checkpoint(saved)
    content = torch.load(saved, weights_only=True)
    del content[KEY]
    torch.save(content, saved)
    with pytest.raises(InvalidInput, match=r"does not say of which network.*pass model="):
        GBPClassifier.load_from_checkpoint(saved)


def test_a_module_of_another_class(saved):
    with pytest.raises(InvalidInput, match=r"is of a GBPClassifier.*GBPRegressor\.load_from_checkpoint.*use GBPClassifier"):
        GBPRegressor.load_from_checkpoint(saved)
    changed(saved, kind="nowhere.Module")
    with pytest.raises(InvalidInput, match=r"nowhere\.Module, which is not imported"):
        load_module(saved)


@pytest.mark.parametrize("make", [GBPClassifier, AdamWClassifier])
def test_a_checkpoint_of_another_architecture_changes_nothing(make, saved):
    plain = make is AdamWClassifier
    network = nn.Sequential(nn.Linear(2, 4) if plain else gbp.GBPLinear(2, 4))
    module = make(network)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    run = trainer(1)
    with pytest.raises(InvalidInput, match=r"not that of this network; nothing has changed|has another shape"):
        run.fit(module, Blobs(), ckpt_path=saved, weights_only=True)
    with pytest.raises(InvalidInput):
        make.load_from_checkpoint(saved, model=network)
    torch.testing.assert_close(module.state_dict(), before, atol=0, rtol=0)
