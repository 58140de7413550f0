"""What MessagePassing asks of its parameters, and of what came to them since the last step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch_gbp.errors import InvalidInput
from torch_gbp.optim.stores import Store
from torch_gbp.optim.stores.base import State
from torch_gbp.optim.update import Update
from torch_gbp.weights.parameter import GaussianParameter, owner_of


def has_message(marginal: GaussianParameter, where: Callable[[], str], means: bool, alone: bool) -> bool:
    """Whether sweeps have brought the marginal, called `where`, a message since the last step.

    In a means sweep its mean alone gets a gradient; `alone` is a single process.

    Raises:
        InvalidInput: only half of the marginal can get one, a step took it in before, or its gradients were written to. (Not
            looked at among several processes, where DDP writes their averages.)
    """
    states = {name: (half.requires_grad, half.grad is None) for name, half in marginal.halves.items()}
    if len(set(states.values())) > 1 and not (means and len({free for free, _ in states.values()}) == 1):
        raise InvalidInput(
            "a message goes to mean and precision together",
            where=f"MessagePassing.step, {where()}",
            got=", ".join(
                f"{half} {'trained' if free else 'frozen'}{', no gradient' * none}" for half, (free, none) in states.items()
            ),
            cause="requires_grad_(False), or grad = None, on one of the two",
            fix="freeze both: layer.requires_grad_(False)",
        )
    if marginal.mean.grad is None:
        return False
    if marginal.arrived is None:
        raise InvalidInput(
            "the message was taken in by a step before",
            where=f"MessagePassing.step, {where()}",
            got="gradients without a sweep of their own",
            cause="no zero_grad since the last step, or two optimizers with the same parameters",
            fix="call zero_grad before every sweep, and give every marginal to one optimizer",
        )
    if alone and not marginal.untouched():
        raise InvalidInput(
            "gradients were changed between backward and step",
            where=f"MessagePassing.step, {where()}",
            got="other tensors, or values written since",
            cause="clip_grad_norm_, or another operation on .grad; the pair is a message, no direction",
            fix="leave it out; lower lr if beliefs overshoot",
        )
    return True


def owners(group: dict[str, Any]) -> list[GaussianParameter]:
    """The Gaussian parameters of an optimizer's group, each once.

    Raises:
        InvalidInput: an ordinary parameter, or a mean without its precision (or the reverse).
    """
    found = [owner_of(parameter) for parameter in group["params"]]
    strangers = [tuple(p.shape) for p, owner in zip(group["params"], found, strict=True) if owner is None]
    if strangers:
        raise InvalidInput(
            f"{len(strangers)} of {len(found)} parameters are not Gaussian",
            where="MessagePassing",
            got=f"shapes {strangers[:4]}",
            cause="a torch layer among the GBP layers, or a network without marginals",
            fix="use torch_gbp.configure_optimizers(model, ...), which trains them too, after torch_gbp.from_torch(model)",
        )
    sharded = [tuple(p.shape) for p in group["params"] if hasattr(p, "full_tensor")]
    if sharded:
        raise InvalidInput(
            "sharded parameters have no messages yet",
            where="MessagePassing",
            got=f"{len(sharded)} DTensors, shapes {sharded[:4]}",
            cause="torch.distributed.fsdp.fully_shard, or tensor parallelism",
            fix="train with DistributedDataParallel, which keeps all parameters in every process",
        )
    unique = list(dict.fromkeys(owner for owner in found if owner is not None))
    if sum(len(owner.halves) for owner in unique) != len(found):
        raise InvalidInput(
            "every Gaussian parameter must come with both mean and precision, in one group",
            where="MessagePassing",
            fix="pass all of layer.parameters()",
        )
    return unique


def require_unscaled(optimizer: Any) -> None:
    """Raises InvalidInput if a GradScaler calls the step: score and precision, and what stands beside them, scale differently."""
    marks = {name: vars(optimizer).pop(name) for name in ("grad_scale", "found_inf") if name in vars(optimizer)}
    if marks:
        raise InvalidInput(
            "a loss that is scaled up for half precision makes messages of another size",
            where="MessagePassing.step",
            got="torch.amp.GradScaler",
            cause='float16 training (precision="16-mixed")',
            fix='use bfloat16, which needs no scaling: torch.autocast(..., torch.bfloat16), precision="bf16-mixed"',
        )


def require_same_task(known: dict[GaussianParameter, int], marginals: list[GaussianParameter]) -> None:
    """Raises InvalidInput where posteriors became priors since the optimizer met them: what it remembers is in those now.

    Marginals that joined later are taken as they are, and known from then on.
    """
    if any(marginal.advances != known.setdefault(marginal, marginal.advances) for marginal in marginals):
        raise InvalidInput(
            "the posterior became the prior, and what the optimizer remembers would count twice",
            where="MessagePassing.step",
            cause="torch_gbp.advance(model) without the optimizer",
            fix="call advance(model, optimizer), or make a new optimizer",
        )


def require_examples(examples: int, num_data: int) -> None:
    """Raises InvalidInput for a step without examples, or with more than there are."""
    if not examples:
        raise no_message("loss.backward() was not called, or the loss is not a torch_gbp likelihood")
    if examples > num_data:
        raise InvalidInput(
            "the batch has more examples than the data set",
            where="MessagePassing",
            got=f"{examples} examples, num_data={num_data}",
            cause="num_data counts batches, was left at another data set's size, or an example has several targets",
            fix="pass num_data=, the number of targets in a pass (len(dataset) where each example has one)",
        )


def require_message(updates: list[Update]) -> None:
    """Raises InvalidInput for a step in which no marginal has a message, though a sweep was heard."""
    if not updates:
        raise no_message("gradients set to None after the sweep")


def no_message(cause: str) -> InvalidInput:
    """The error of a step that has nothing to take in."""
    fix = "call likelihood(model(x), y).backward() first"
    return InvalidInput("step() found no message", where="MessagePassing", cause=cause, fix=fix)


def require_learnt(store: Store, marginals: list[GaussianParameter], states: list[State]) -> None:
    """Raises InvalidInput if no marginal knows more of its weights than the prior, or a prior has no variance to learn."""
    fixed = [marginal.prior for marginal in marginals if marginal.prior.adapts and marginal.mean.requires_grad]
    if fixed:
        raise InvalidInput(
            f"the scale of a {type(fixed[0]).__name__} is not learnt",
            where="MessagePassing.learn_priors",
            got=f"{len(fixed)} of {len(marginals)} marginals with such a prior",
            fix="choose its variance on held-out data, or use Prior",
        )
    tasks = sum(marginal.prior_precision.ndim > 0 and marginal.mean.requires_grad for marginal in marginals)
    if tasks:
        raise InvalidInput(
            "priors are the posteriors of earlier tasks, which one variance for a layer would wipe out",
            where="MessagePassing.learn_priors",
            got=f"{tasks} of {len(marginals)} marginals with such a prior",
            cause="torch_gbp.advance",
            fix="learn priors in the first task alone",
        )
    if not any(map(store.learnt, marginals, states)):
        raise InvalidInput(
            "nothing has been learnt that priors could follow",
            where="MessagePassing.learn_priors",
            got="marginals that no message has reached",
            cause="a call before the first step",
            fix="call it after a pass",
        )
