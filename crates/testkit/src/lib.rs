//! A test platform and fixtures shared by the test suites.
