"""The three stores: how a batch's message enters a marginal, and what is remembered of it."""

from torch_gbp.stores.averaged import AveragedSites
from torch_gbp.stores.base import Step, Store
from torch_gbp.stores.batch_sites import BatchSites
from torch_gbp.stores.filtering import Filtering

__all__ = ["AveragedSites", "BatchSites", "Filtering", "Step", "Store"]
