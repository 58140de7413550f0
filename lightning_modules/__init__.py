"""lightning_modules: torch_gbp under Lightning: modules, data, evaluation, command line."""

from lightning_modules.requirements import require_packages

require_packages()

from lightning_modules.baseline import AdamWClassifier
from lightning_modules.block_local_classifier import BlockLocalClassifier
from lightning_modules.calibrate import Calibrate
from lightning_modules.checkpoints import PortableModule, load_module, network_of
from lightning_modules.classifier import GBPClassifier
from lightning_modules.data import CIFAR10, CIFAR100, CSV, MNIST, UCI, Digits, FashionMNIST
from lightning_modules.denoiser import GBPDenoiser
from lightning_modules.learn_priors import LearnPriors
from lightning_modules.next_task import advanced
from lightning_modules.prediction_files import PredictionFile
from lightning_modules.progress import PassLines
from lightning_modules.regressor import GBPRegressor

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "CSV",
    "MNIST",
    "UCI",
    "AdamWClassifier",
    "BlockLocalClassifier",
    "Calibrate",
    "Digits",
    "FashionMNIST",
    "GBPClassifier",
    "GBPDenoiser",
    "GBPRegressor",
    "LearnPriors",
    "PassLines",
    "PortableModule",
    "PredictionFile",
    "advanced",
    "load_module",
    "network_of",
]
