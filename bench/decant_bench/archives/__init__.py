"""Archives: speed, bytes, memory and access by count of pictures, and runs that are killed and resumed."""
