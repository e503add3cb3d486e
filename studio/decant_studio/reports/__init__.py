"""Reports as pages: which files there are, and how each kind is shown."""
