"""The pages and their JSON interfaces, one Flask blueprint a page."""
