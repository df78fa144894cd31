//! Wire types and the route table; no behaviour.
