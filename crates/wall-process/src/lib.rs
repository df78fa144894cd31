//! The process wall: namespaces, cgroups, seccomp, Landlock, mounts; and the launcher that keeps root.
