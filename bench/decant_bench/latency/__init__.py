"""Load and decode latency: measurement, phases, footprint, breakdown, comparison of records."""
