"""Selection of device, runtime, graph and precision: candidates, the golden check, the selected graph."""
