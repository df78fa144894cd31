//! One transaction per event: load, decide, commit, hand out.
