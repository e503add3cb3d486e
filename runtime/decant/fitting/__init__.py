"""`decant fit`: trials of every graph of a bundle on this machine, their compiled forms, and reports"""
