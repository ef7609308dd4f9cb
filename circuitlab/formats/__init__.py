"""Files that users of this field have: transcoders, graphs, and their archives."""
