//! Raw settings from file, environment and flags, resolved once; the only reader of them.
