"""The packages that lightning_modules needs beside torch_gbp, named together where one is missing."""

from importlib.util import find_spec

from torch_gbp.errors import explain

NEEDED = {  # module: distribution
    "lightning": "lightning",
    "torchvision": "torchvision",
    "torchmetrics": "torchmetrics",
    "sklearn": "scikit-learn",
    "jsonargparse": "jsonargparse",
}


def require_packages() -> None:
    """Raises ModuleNotFoundError, which names what is missing and how to install it, unless every package is there."""
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(
            explain(
                "packages of the extra `lightning` are not installed",
                where="lightning_modules",
                got=f"no {', '.join(missing)}",
                cause="torch_gbp alone needs torch and tqdm only",
                fix="pip install 'torch-gbp[lightning]'",
            )
        )
