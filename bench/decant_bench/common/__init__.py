"""What every measurement shares: pictures, metrics, baselines, records, tables, plots, pages."""
