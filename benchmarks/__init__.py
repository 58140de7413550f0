"""Benchmarks: `python -m benchmarks NAME --data-dir DIR --out FILE.json`, see benchmarks/README.md."""
