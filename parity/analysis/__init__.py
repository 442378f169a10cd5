"""What one network says without a second: sizes, costs, traps, design spaces."""
