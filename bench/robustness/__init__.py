"""Every attack against every defence, on the same data, in cells that one command fills and draws."""
