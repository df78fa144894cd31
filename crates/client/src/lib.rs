//! Typed HTTP client for the CLI.
