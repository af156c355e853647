"""Amaranth RTL of the SpAtten top-k engine, built from the same `sparcade.topk.TopKParams` as the simulator.

docs/rtl.md shows the blocks; each is a file here. `bench` simulates, `formal` proves.
"""
