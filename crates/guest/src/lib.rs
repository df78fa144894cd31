//! Process 1 of every compartment: slots, zygotes, sandboxes, limits, streams.
