"""`python -m lightning_modules`: see `lightning_modules.cli`."""

from lightning_modules.cli import run

if __name__ == "__main__":
    run()
