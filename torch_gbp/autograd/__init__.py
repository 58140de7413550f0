"""The bridge between messages and autograd: rules ride on torch's backward pass, sweeps and probes are counted."""
