//! Where a sandbox may connect: policy (pure) and gateway.
