"""Synthesis of the RTL's blocks: area, logic depth, timing and power, and what they would be at 40 nm."""
