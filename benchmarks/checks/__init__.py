"""Checks: configurations that nobody tuned, sampled posteriors, and what the AMP-BNN thesis publishes; tables in CHECKS.md."""
