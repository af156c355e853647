"""Amaranth RTL of the SpAtten top-k engine, built from the same `sparcade.topk.TopKParams` as the simulator.

The components arrive with the RTL issue; until then the package holds only this contract.
"""
