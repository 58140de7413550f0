"""Networks that were here and are in the examples now: an old name raises an error with its new spelling."""

from torch_gbp.errors import explain

NETWORKS = (
    "MLP", "Conv890k", "ConvOnePass", "DigitsConv", "LeNet5", "conv890k", "conv_one_pass", "digits_conv", "lenet5", "mlp",
    "BlockResNet", "FilterResponseNorm", "ResNet", "ViT",
)  # fmt: skip


def moved(name: str, where: str, fix: str) -> str:
    """The error's text; `{}` in the way out is the name."""
    cause, fix = "a script of an earlier version", fix.format(f"examples.networks.{name}")
    return explain("the networks have moved to the examples of the repository", where=where, got=name, cause=cause, fix=fix)
