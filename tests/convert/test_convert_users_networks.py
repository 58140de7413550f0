"""Networks as users write them: padding, statistics, hooks, layers in lists, inputs written to, activations that are kept."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import three_classes
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

import torch_gbp as gbp
from torch_gbp.batches import count_examples
from torch_gbp.errors import InvalidInput


class Sentences(nn.Module):
    def __init__(self, tied=False):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 8, padding_idx=0), nn.Linear(8, 3)
        if tied:
            self.back = nn.Linear(8, 20, bias=False)
            self.back.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x).sum(1))


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.DependentTerms")  # rows that are added up
@pytest.mark.parametrize("how", ["samples", "linear", "moments"])
@pytest.mark.parametrize("covariance", ["shared", "diagonal"])
def test_padding_adds_no_variance(how, covariance):
    model = gbp.from_torch(Sentences(), covariance=covariance)
    x = torch.randint(1, 20, (50, 5))
    padded = torch.cat([x, torch.zeros(50, 200, dtype=torch.long)], 1)
    variances = [gbp.predict(model, gbp.Regression(), one, how).belief.variance for one in (x, padded)]
    assert_close(variances[0], variances[1], rtol=1e-3, atol=1e-6)
    assert not gbp.sample(model).embedding.weight[0].any()


def test_the_padding_of_a_tied_embedding_is_a_weight_of_the_other_layer():
    own = gbp.marginals(gbp.from_torch(Sentences(tied=True)))["embedding.weight"]
    assert bool((own.belief().variance > 0).all())


def test_statistics_of_instance_norm_are_averages_too():
    network = nn.Sequential(nn.InstanceNorm1d(2, track_running_stats=True))
    batches = [torch.randn(8, 2, 50) * 3 + 7 for _ in range(4)]
    assert gbp.renew_statistics(network, batches) == 1
    assert_close(network[0].running_mean, torch.stack(batches).mean((0, 1, 3)))


def test_a_batch_that_fails_leaves_the_statistics_as_they_were():
    network = nn.BatchNorm1d(1)
    network.running_mean.fill_(7.0)
    with pytest.raises(InvalidInput):
        gbp.renew_statistics(network, [torch.zeros(4, 1), {"x": 1}])
    assert float(network.running_mean) == 7.0 and network.momentum == 0.1


@pytest.mark.parametrize("make", [gbp.last_layer, gbp.adapters])
def test_frozen_backbones_keep_statistics_without_parameters(make):
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8, affine=False), nn.ReLU(), nn.Linear(8, 3))
    x, y = three_classes()
    model = make(network)
    gbp.Trainer(model, gbp.Softmax(), epochs=1, progress=False).fit([(5 * x + 2, y)] * 4)
    assert_close(model[1].running_mean, network[1].running_mean)
    again = gbp.last_layer(model) if make is gbp.last_layer else model
    plain = gbp.to_torch(again)
    assert not plain[1]._forward_pre_hooks and len(again[1]._forward_pre_hooks) == 1


@pytest.mark.parametrize("how", ["samples", "linear", "moments", "means"])
@pytest.mark.parametrize("vectorise", [True, False])
def test_inputs_that_the_network_writes_to_stay_what_they_were(how, vectorise):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x.sub_(0.5).div_(0.25))

    model, x = gbp.from_torch(InPlace()), torch.rand(5, 3)
    found = gbp.predict(model, gbp.Softmax(), x.clone(), how, samples=64, vectorise=vectorise).probs
    assert_close(found, model(x.clone()).softmax(1), rtol=0, atol=0.05)
    kept = x.clone()
    gbp.predict(model, gbp.Softmax(), x, how)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("how", ["samples", "linear"])
def test_activations_that_a_module_keeps_are_put_back(how):
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.register_buffer("seen", torch.zeros(2))

        def forward(self, x):
            self.last = self.fc(x)
            self.seen = 0.9 * self.seen + self.last.detach().mean(0)
            return self.last

    model, x = gbp.from_torch(Keeping()), torch.randn(5, 3)
    gbp.predict(model, gbp.Softmax(), x, how)
    copy.deepcopy(model)
    gbp.to_torch(model)
    assert torch.equal(model.seen, torch.zeros(2)) and not hasattr(model, "last")
    model(x)


def test_drawn_weights_have_nothing_to_do_with_those_that_the_network_began_with():
    for seed in range(5):
        torch.manual_seed(seed)
        layer = gbp.from_torch(nn.Linear(64, 16, bias=False))
        torch.manual_seed(seed)
        start, x = torch.randn(16, 64), torch.eye(64)
        found = gbp.predict(layer, gbp.Regression(), x, "samples", samples=1)
        noise = (found.outputs[0] - layer(x).detach()).T
        assert abs(float(torch.corrcoef(torch.stack([noise.flatten(), start.flatten()]))[0, 1])) < 0.15


def test_what_hangs_on_a_layer_is_not_lost_by_a_twin():
    hooked = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    hooked[0].register_forward_hook(lambda layer, x, out: out * 0)
    with pytest.raises(InvalidInput, match="forward hooks"):
        gbp.from_torch(hooked, moments=True)
    pruned = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    prune.l1_unstructured(pruned[0], "weight", 0.5)
    with pytest.raises(InvalidInput, match="a weight that is computed"):
        gbp.from_torch(pruned, moments=True)
    with pytest.raises(InvalidInput, match="cannot be copied"):
        gbp.from_torch(pruned)


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act, self.b = nn.Linear(3, 8), nn.LeakyReLU(0.1), nn.Linear(8, 3)
        self.order = [self.a, self.act, self.b]

    def forward(self, x):
        for step in self.order:
            x = step(x)
        return x


def test_layers_in_a_plain_list_are_the_same_as_the_children():
    model = gbp.from_torch(Listed(), moments=True)
    assert model.order[0] is model.a and model.order[2] is model.b and isinstance(model.a, gbp.GBPLinear)
    plain = gbp.to_torch(model)
    assert plain.order[0] is plain.a and type(plain.a) is nn.Linear
    assert_close(plain(torch.ones(2, 3)), model(torch.ones(2, 3)).mean, rtol=0.5, atol=0.5)


@pytest.mark.parametrize("moments", [False, True])
def test_a_basis_goes_in_front_of_the_layer_that_is_called_first(moments):
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(4, 3), nn.Linear(4, 4)

        def forward(self, x):
            return self.last(F.leaky_relu(self.first(x)))

    model = gbp.from_torch(Reversed(), fresh=True, inputs=torch.randn(100, 4), moments=moments)
    assert isinstance(model.first, nn.Sequential) and not isinstance(model.last, nn.Sequential)


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrised_layers_are_drawn_anew_too(norm):
    network = nn.Sequential(norm(nn.Linear(4, 8)), nn.Tanh(), nn.Linear(8, 3))
    model = gbp.from_torch(network, fresh=True)
    assert float((model[0].weight - network[0].weight).detach().abs().max()) > 0.01


def test_a_mode_that_does_more_is_put_back_by_the_modules_own_train():
    class Merging(nn.Linear):
        merged = False

        def train(self, mode=True):
            self.merged = not mode
            return super().train(mode)

    model = gbp.from_torch(nn.Sequential(Merging(3, 2)))
    gbp.predict(model, gbp.Softmax(), torch.randn(4, 3), "samples")
    assert model.training and not model[0].merged


def test_a_tied_head_is_refused_before_anything_is_frozen():
    network = Sentences(tied=True)
    with pytest.raises(InvalidInput, match="shares weights"):
        gbp.last_layer(network, "back", inplace=True)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_compiled_networks_come_back_plain():
    model = torch.compile(gbp.from_torch(nn.Sequential(nn.Linear(3, 2))))
    assert type(gbp.to_torch(model)) is type(gbp.sample(model)) is nn.Sequential


def test_parts_of_a_prediction_are_those_of_the_likelihood_as_it_was():
    model, likelihood, x = gbp.from_torch(nn.Linear(3, 2)), gbp.Softmax(), torch.randn(5, 3)
    first, second = (gbp.predict(model, likelihood, x, "moments") for _ in range(2))
    before = first.epistemic
    likelihood.variance_factor.fill_(30.0)
    assert torch.equal(second.epistemic, before)


def test_epistemic_parts_of_many_classes():
    model = gbp.from_torch(nn.Linear(2, 22_000))
    assert gbp.predict(model, gbp.Softmax(), torch.randn(1, 2), "moments").epistemic.shape == (1,)


def test_a_network_that_squeezes_a_batch_of_one_away_is_told():
    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 1)

        def forward(self, x):
            return self.fc(x).squeeze()

    with pytest.raises(InvalidInput, match="a row of outputs for each example"):
        gbp.predict(gbp.from_torch(Squeezed()), gbp.Regression(), torch.randn(1, 3), "samples")


def test_subclasses_of_recurrent_layers_share_precisions_like_them():
    class Own(nn.GRU):
        pass

    networks = [gbp.from_torch(kind(3, 4)) for kind in (nn.GRU, Own)]
    first, second = ([own.sharing for own in gbp.marginals(network).values()] for network in networks)
    assert first == second


def test_samplers_say_how_many_examples_a_pass_has():
    data = TensorDataset(*three_classes())
    assert count_examples(DataLoader(data, 10, shuffle=True)) == 60
    assert count_examples(DataLoader(data, 10, sampler=SubsetRandomSampler(range(20)))) == 20
    assert count_examples(DataLoader(data, 10, sampler=torch.utils.data.DistributedSampler(data, 2, 0))) == 60


def test_the_best_pass_of_an_early_stop_has_no_surplus_of_precision():
    layers = [part for _ in range(6) for part in (gbp.GBPLinear(8, 8), gbp.GBPLeakyReLU(0.1))]
    model = nn.Sequential(gbp.GBPLinear(3, 8), *layers, gbp.GBPLinear(8, 3))
    x, y = three_classes()
    trainer = gbp.Trainer(model, gbp.Softmax(), epochs=8, patience=1, progress=False)
    history = trainer.fit([(x[i : i + 10], y[i : i + 10]) for i in range(0, 60, 10)], [(x, (y + 1) % 3)])
    assert len(history) < 4  # stopped while there was a surplus
    kept = [float((own.precision - own.floor).detach().mean()) for own in gbp.marginals(model).values()]
    assert kept[2] < 40  # weights of a hidden layer; with the surplus 200
    assert all(own.surplus == 0 for own in gbp.marginals(model).values())


@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
def test_layers_with_sparse_gradients_are_refused_before_anything_changes(layer):
    network = nn.Sequential(layer(10, 4, sparse=True), nn.Linear(4, 3))
    with pytest.raises(InvalidInput, match="sparse=False"):
        gbp.from_torch(network)
    assert not gbp.marginals(network)
    kept = gbp.from_torch(network, which=lambda module, name: isinstance(module, nn.Linear) and name.endswith("weight"))
    assert list(gbp.marginals(kept)) == ["1.weight"]
