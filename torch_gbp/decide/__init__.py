"""Decisions by predictive distributions: which examples to label next, and which predictions not to give."""

from torch_gbp.decide.abstain import Abstention, abstain
from torch_gbp.decide.batch import batch_bald
from torch_gbp.decide.information import mutual_information
from torch_gbp.decide.select import select

__all__ = ["Abstention", "abstain", "batch_bald", "mutual_information", "select"]
