"""Which device, runtime, graph and precision decode: candidates, the golden check, the graph selected."""
