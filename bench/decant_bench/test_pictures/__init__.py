"""Test pictures of other kinds than photos: drawings, text pages, screens, camera noise."""
