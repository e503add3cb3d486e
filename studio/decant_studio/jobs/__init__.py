"""Work on pictures in processes of their own: bounded, with time and memory limits."""
