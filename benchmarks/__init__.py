"""What is promised, measured: `python -m benchmarks.bars`."""
