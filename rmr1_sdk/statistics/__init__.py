"""Statistics: intervals, tests, agreement and calibration."""
