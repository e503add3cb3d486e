"""A family as a user would add one: a network (train) and its graphs (export)."""
