"""Data sets: pure loading functions (`images`, `tables`) and Lightning data modules on top of them."""

from lightning_modules.data.base import Parts, TensorDataModule
from lightning_modules.data.image_modules import CIFAR10, CIFAR100, MNIST, Digits, FashionMNIST, ImageDataModule, Normaliser
from lightning_modules.data.images import Images
from lightning_modules.data.table_modules import CSV, UCI, TableDataModule
from lightning_modules.data.tables import Scaler, Table

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "CSV",
    "MNIST",
    "UCI",
    "Digits",
    "FashionMNIST",
    "ImageDataModule",
    "Images",
    "Normaliser",
    "Parts",
    "Scaler",
    "Table",
    "TableDataModule",
    "TensorDataModule",
]
