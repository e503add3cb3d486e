"""The commands of ``decant``, one file per group; whatever is slow to import is imported inside the command
that needs it.
"""
