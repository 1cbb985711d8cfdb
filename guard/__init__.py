"""The guard: integers in, verdicts out. Sketches, words, the gate, reputation lanes and merge weights."""
