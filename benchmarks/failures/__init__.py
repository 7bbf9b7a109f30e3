"""What a failing Redis costs; run `python -m benchmarks.failures`."""
