"""The packages that lightning_modules needs beside torch_gbp, named together where one is missing."""

from torch_gbp.errors.extras import require_extra

NEEDED = {  # module: distribution
    "lightning": "lightning",
    "torchvision": "torchvision",
    "torchmetrics": "torchmetrics",
    "sklearn": "scikit-learn",
    "jsonargparse": "jsonargparse",
}


def require_packages() -> None:
    """Raises ModuleNotFoundError, which names what is missing and how to install it, unless every package is there."""
    require_extra("lightning", NEEDED, "lightning_modules")
