"""The three stores: how a batch's message enters a marginal, and what is remembered of it."""

from torch_gbp.optim.stores.averaged import AveragedSites
from torch_gbp.optim.stores.base import Run, Step, Store
from torch_gbp.optim.stores.batch_sites import BatchSites
from torch_gbp.optim.stores.filtering import Filtering

__all__ = ["AveragedSites", "BatchSites", "Filtering", "Run", "Step", "Store"]
