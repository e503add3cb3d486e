"""The published systems, each reproduced by one command: rows "published / ours", table and page."""
