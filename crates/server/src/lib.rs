//! HTTP routes, auth, error mapping, webhook ingress.
