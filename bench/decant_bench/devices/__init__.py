"""Collections of devices: latency records made small, and the page that ranks them."""
