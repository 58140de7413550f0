"""Checkpoints that carry everything a prediction needs, and load safely."""

from lightning_modules.checkpoints.portable import PortableModule
from lightning_modules.checkpoints.reading import load_module, network_of, read_checkpoint, read_record
from lightning_modules.checkpoints.record import FORMAT, KEY, Record

__all__ = ["FORMAT", "KEY", "PortableModule", "Record", "load_module", "network_of", "read_checkpoint", "read_record"]
