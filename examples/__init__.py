"""Networks to try, settings of the command line for them, and the demo: `python -m examples.demo`."""
