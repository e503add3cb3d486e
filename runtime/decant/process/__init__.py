"""Processes, threads and cores: forks, the end of the interpreter, worker threads, whose exception it is."""
