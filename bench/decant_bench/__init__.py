"""The measuring stage: latency and quality of bundles beside JPEG, WebP and AVIF, comparisons, reports."""
