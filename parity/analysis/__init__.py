"""The analysis of one network, without a second: sizes, costs, traps, design spaces."""
