"""The demo: `make demo`, or `python -m decant_bench.demo`. Training, export, measurement and one HTML
page.
"""
