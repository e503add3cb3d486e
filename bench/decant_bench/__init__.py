"""The measuring stage: latency and quality of bundles beside JPEG and its kin, comparisons, reports."""
