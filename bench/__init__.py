"""Measurements: gas, speed, memory. Ratios taken side by side in one run, never thresholds in tests."""
