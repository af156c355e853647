"""cocotb bench of the top-k engine: lists in, values, order and cycles against `sparcade.topk`."""
