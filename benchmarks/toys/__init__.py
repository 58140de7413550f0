"""The two small problems of GBP Learning, appendix C: XOR and a curve, by summed messages and by exact messages on every edge."""

from benchmarks.toys import curve, xor
from benchmarks.toys.learning import METHODS

__all__ = ["METHODS", "curve", "xor"]
