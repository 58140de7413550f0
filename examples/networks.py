"""The networks of lightning_modules, by the name under which examples and benchmarks import them."""

from lightning_modules.networks import *  # noqa: F403
from lightning_modules.networks import __all__  # noqa: F401
