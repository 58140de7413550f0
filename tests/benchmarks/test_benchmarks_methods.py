"""Every method of the comparison learns, and what a race tells of one does not depend on the others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import methods
from benchmarks.contest import trials_of
from benchmarks.measure import peak_memory_mb, predict
from benchmarks.methods import METHODS, installed
from benchmarks.methods.base import Entrant, Method, Training
from benchmarks.methods.bayes import divergence
from benchmarks.race import Run, made, make_training, race
from benchmarks.results import Request
from benchmarks.tasks import TASKS, Net, Plan, Split, Task, Trial, limited, load_held_out
from examples.networks import mlp
from lightning_modules.data.image_modules import Normaliser
from lightning_modules.data.images import Images, load_digits

NET = Net("small", lambda: mlp(64, (32,)), [])
PLAN = Plan(epochs=20, batch=16, first_batch=8)


@pytest.fixture(scope="module")
def digits() -> Split:
    """320 digits for training, 500 to score."""
    images = load_digits()
    standardise = Normaliser(images.train_x)
    x, scored = standardise(images.train_x[:320]), standardise(images.test_x)
    return Split(x, images.train_y[:320], scored, images.test_y, {})


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_the_digits(name: str, digits: Split) -> None:
    package = METHODS[name].package
    if package is not None and not installed([name]):
        pytest.skip(f"{package} is not installed")
    (racer,) = race([Run(name, METHODS[name].defaults)], Trial("small", NET, PLAN, digits, 0))
    logs = predict(racer.method.log_probabilities, digits.scored_x)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(500), atol=1e-4, rtol=0)
    assert (logs.argmax(1) == digits.scored_y).double().mean() > 0.8
    assert len(racer.passes) == PLAN.epochs
    assert racer.train_seconds >= sum(racer.passes) > 0


@pytest.mark.parametrize("name", ["ensemble", "ivon"])  # one that draws in training, one that draws to predict as well
def test_a_result_does_not_depend_on_who_else_takes_part(name: str, digits: Split) -> None:
    if not installed([name]):
        pytest.skip(f"{name} is not installed")
    run, plan = Run(name, METHODS[name].defaults), Plan(epochs=1)
    (alone,) = race([run], Trial("small", NET, plan, digits, 0))
    together = race([run, Run("gbp", {}), run], Trial("small", NET, plan, digits, 0))
    expected = alone.predict(digits.scored_x)
    assert torch.equal(together[0].predict(digits.scored_x), expected)
    assert torch.equal(together[2].predict(digits.scored_x), expected)


def test_every_seed_of_a_race_draws_weights_batches_and_random_numbers_of_its_own(digits: Split) -> None:
    class Notes:
        """A method that keeps what the race gives it."""

        def __init__(self, training: Training) -> None:
            self.network, self.batches, self.drawn = training.network, list[Tensor](), torch.rand(4)

        def step(self, x: Tensor, y: Tensor) -> None:
            self.batches.append(x)

        def finish(self) -> None:
            self.end = torch.rand(4)

    def notes(seed: int) -> list[Tensor]:
        (racer,) = race([Run("notes", {}, Notes)], Trial("small", NET, Plan(epochs=2), digits, seed))  # type: ignore[arg-type]
        kept: Any = racer.method
        half = len(kept.batches) // 2
        assert not torch.equal(kept.batches[0], kept.batches[half])  # each pass in an order of its own
        return [*kept.network.parameters(), kept.batches[0], kept.drawn, kept.end]

    first, again, second = notes(0), notes(0), notes(1)
    assert all(torch.equal(ours, same) for ours, same in zip(first, again, strict=True))
    drawn = [(ours, other) for ours, other in zip(first, second, strict=True) if ours.std() > 0]
    assert len(drawn) >= 5 and not any(torch.equal(ours, other) for ours, other in drawn)


def test_an_ensemble_needs_one_optimizer_and_five_networks(digits: Split) -> None:
    training = make_training(Trial("small", NET, PLAN, digits, 0))
    single, five = (made(Run(name, METHODS["adamw"].defaults), training, 0) for name in ("adamw", "ensemble"))
    x, y = digits.x[:16], digits.y[:16]
    weights = sum(parameter.numel() for parameter in training.network.parameters())
    assert peak_memory_mb(five, x, y) - peak_memory_mb(single, x, y) == pytest.approx(4 * 4 * weights / 1e6)


def test_members_of_an_ensemble_differ_and_the_first_is_the_single_network(digits: Split) -> None:
    single, five = race(
        [Run(name, METHODS["adamw"].defaults) for name in ("adamw", "ensemble")], Trial("small", NET, PLAN, digits, 0)
    )
    started = made(five.run, make_training(Trial("small", NET, PLAN, digits, 0)), 0)
    weights = [member.network[1].weight for member in started.members]  # type: ignore[attr-defined]
    assert all(not torch.equal(weight, weights[0]) for weight in weights[1:])
    members: list[Method] = five.method.members  # type: ignore[attr-defined]
    expected = predict(single.method.log_probabilities, digits.scored_x)
    found = [predict(member.log_probabilities, digits.scored_x) for member in members]
    assert torch.equal(found[0], expected)
    assert all((member - expected).abs().max() > 0.1 for member in found[1:])
    torch.testing.assert_close(predict(five.method.log_probabilities, digits.scored_x).exp(), torch.stack(found).exp().mean(0))


def test_the_divergence_is_that_of_torch_distributions() -> None:
    network = nn.Module()
    network.mu_weight, network.rho_weight = (nn.Parameter(torch.randn(3, 2)) for _ in range(2))
    posterior = torch.distributions.Normal(network.mu_weight, nn.functional.softplus(network.rho_weight))
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 0.5)).sum()
    torch.testing.assert_close(divergence(network, 0.5), expected)


def weights_of_every_step(method: Method, digits: Split, steps: int) -> list[list[Tensor]]:
    """The network's parameters after each of so many steps on the same images."""
    found = []
    for _ in range(steps):
        method.step(digits.x[:16], digits.y[:16])
        found.append([parameter.detach().clone() for parameter in method.network.parameters()])
    return found


@pytest.mark.parametrize("name", ["adamw_tail", "sgd_momentum"])
def test_the_tail_average_is_the_polynomial_decay_average_of_the_weights(name: str, digits: Split) -> None:
    """A <- A + (w - A) min(1, 1 / (tail t)) gives weight prod_{u > t} (1 - 1 / (tail u)) / (tail t) to the weights of step t."""
    tail, steps = 0.125, 40
    method = made(Run(name, METHODS[name].defaults), make_training(Trial("small", NET, PLAN, digits, 0)), 0)
    history = weights_of_every_step(method, digits, steps)
    shares = [min(1.0, 1 / (tail * t)) for t in range(1, steps + 1)]
    weights = [share * math.prod(1 - later for later in shares[t + 1 :]) for t, share in enumerate(shares)]
    assert sum(weights) == pytest.approx(1)
    assert sum(weights[:20]) < 0.5**8 < sum(weights[:25])  # the first half of the steps has little weight, (1 / 2)^(1 / tail)
    method.finish()
    for i, parameter in enumerate(method.network.parameters()):
        expected = torch.stack([weight * step[i].double() for weight, step in zip(weights, history, strict=True)]).sum(0)
        torch.testing.assert_close(parameter.detach().double(), expected, atol=1e-6, rtol=1e-5)
    average = torch.log_softmax(method.network(digits.scored_x), 1)
    torch.testing.assert_close(method.log_probabilities(digits.scored_x), average)


def test_without_a_tail_the_last_weights_predict(digits: Split) -> None:
    method = made(Run("adamw", METHODS["adamw"].defaults), make_training(Trial("small", NET, PLAN, digits, 0)), 0)
    last = weights_of_every_step(method, digits, 5)[-1]
    method.finish()
    assert all(torch.equal(one, other) for one, other in zip(method.network.parameters(), last, strict=True))


@pytest.mark.parametrize(("name", "warmup"), [("adamw", 0), ("adamw_tail", 0), ("sgd_momentum", 20)])
def test_the_rate_warms_up_and_falls_to_its_final_share(name: str, warmup: int, digits: Split) -> None:
    settings, plan = METHODS[name].defaults, Plan(epochs=20, batch=16, first_batch=16)
    method = made(Run(name, settings), make_training(Trial("small", NET, plan, digits, 0)), 0)
    rates = []
    for _ in range(plan.steps(320)):  # 400
        rates.append(method.optimizer.param_groups[0]["lr"])  # type: ignore[attr-defined]
        method.step(digits.x[:2], digits.y[:2])
    peak, final = settings["lr"], settings.get("final", 0.0)
    rise = [peak * (t + 1) / max(warmup, 1) for t in range(warmup)]
    shares = [(1 + math.cos(math.pi * t / (400 - warmup))) / 2 for t in range(400 - warmup)]
    assert rates == pytest.approx([*rise, *(peak * (final + (1 - final) * share) for share in shares)])


def test_the_average_counts_as_memory(digits: Split) -> None:
    training = make_training(Trial("small", NET, PLAN, digits, 0))
    plain, averaged = (made(Run(name, METHODS[name].defaults), training, 0) for name in ("adamw", "adamw_tail"))
    size = 4 * sum(parameter.numel() for parameter in training.network.parameters()) / 1e6
    more = peak_memory_mb(averaged, digits.x[:16], digits.y[:16]) - peak_memory_mb(plain, digits.x[:16], digits.y[:16])
    assert size <= more < 2 * size


def test_a_missing_package_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(methods.METHODS, "rival", Entrant("rival", Method, package="no_such_package"))
    assert installed(["rival", "adamw"]) == ["adamw"]
    assert "rival is left out: No module named 'no_such_package'" in (told := capsys.readouterr().out)
    assert "torch-gbp[benchmarks]" in told


def test_a_diverged_method_knows_nothing() -> None:
    class Half(Method):
        network = nn.Identity()

        def log_probabilities(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, x, math.nan).log().expand(-1, 2)

    logs = predict(Half().log_probabilities, torch.tensor([[0.5], [-1.0]]))
    torch.testing.assert_close(logs, torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log())


def test_a_search_sees_training_images_alone() -> None:
    x = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1)
    images = Images(x, x.flatten().long(), x[:10], -torch.ones(10, dtype=torch.long))
    split = load_held_out(Task("", lambda *_: images, {}, {}), Request(Path(), [0]))
    assert sorted([*split.y.tolist(), *split.scored_y.tolist()]) == list(range(40))
    assert len(split.y) == len(split.scored_y) == 20
    for x, y in ((split.x, split.y), (split.scored_x, split.scored_y)):
        assert torch.equal(x.flatten().argsort(), y.argsort())  # every image has kept its label


def test_a_limit_takes_the_beginning_of_one_shuffle(digits: Split) -> None:
    small, large = (limited(digits, limit) for limit in (16, 64))
    assert torch.equal(small.x, large.x[:16])
    assert not torch.equal(small.x, digits.x[:16])
    assert limited(digits, None) is digits


@pytest.mark.parametrize(("few", "held_out", "alike"), [(True, False, False), (True, True, True), (False, False, True)])
def test_of_few_images_each_seed_scores_a_draw_of_its_own(few: bool, held_out: bool, alike: bool) -> None:
    digits, net = load_digits(), Net("small", lambda: mlp(64, (32,)), [Plan(1, 80)])
    task = Task("", lambda *_: digits, {}, {"small": net}, search_limit=80, few=few)
    zero, one = trials_of(task, Request(Path(), [0, 1]), held_out)
    assert len(zero.split.y) == len(one.split.y) == 80
    assert torch.equal(zero.split.x, one.split.x) is alike
    alone = next(trials_of(task, Request(Path(), [1]), held_out))
    assert torch.equal(alone.split.x, one.split.x)


def test_plans_follow_the_call() -> None:
    low, usual, request = TASKS["lowdata"].nets["mlp"], TASKS["mnist"].nets["mlp"], Request(Path(), [0])
    assert [plan.limit for plan in low.asked(request)] == [80, 160, 320, 640, 1280, 2560, 5120, 10240]
    assert low.asked(request._replace(limit=2560)) == [Plan(24, 2560, 32, 32)]
    assert usual.asked(request._replace(limit=2000, epochs=3)) == [Plan(3, 2000, 64, 32)]
    assert usual.asked(request._replace(quick=True))[0].epochs == 2
    assert Plan(epochs=3).steps(130) == 5 + 3 + 3
