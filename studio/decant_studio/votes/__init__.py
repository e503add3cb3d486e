"""Blind votes: studies, sessions and answers in SQLite, their ranking, and export."""
