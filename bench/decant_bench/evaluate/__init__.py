"""Quality of bundles: figures per picture, the HTML report, grids of published settings."""
