"""decant's studio: a local web application that compares, converts, votes and shows reports."""
