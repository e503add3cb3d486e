"""Adapting a bundle to an archive: tables counted on its pictures, and the gain measured."""
