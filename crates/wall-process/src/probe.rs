//! What this machine can do for the process wall, found by trying.

use bulkhead_wall::{Capability, Requirement};
use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

use crate::cgroup;

/// Probes without changing anything that outlives the call.
#[must_use]
pub fn probe() -> Capability {
    let requirements = vec![root(), user_namespaces(), cgroups(), seccomp(), landlock()];
    let available = requirements.iter().all(|it| it.met || !it.required);
    let fork_isolation = requirements.iter().any(|it| it.name == "landlock" && it.met);
    let fork_isolation = available && fork_isolation;
    Capability { available, fork_isolation, requirements, differences: Vec::new() }
}

/// Whether root is there to build compartments with.
#[must_use]
pub fn root() -> Requirement {
    let met = rustix::process::geteuid().is_root();
    let found = if met { "running as root" } else { "not running as root (geteuid)" };
    requirement(
        "root",
        met,
        true,
        found.to_owned(),
        "start the server as root: only the launcher keeps it. Rootless would need delegated cgroup v2 (systemd \
         Delegate=yes), newuidmap with a range of 65,536 ids per compartment, and a user namespace that owns the \
         mounts; it is not built yet",
    )
}

/// Whether the kernel makes user namespaces.
#[must_use]
pub fn user_namespaces() -> Requirement {
    let path = "/proc/sys/user/max_user_namespaces";
    let max: Option<u64> =
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let found =
        max.map_or_else(|| format!("{path} can't be read"), |max| format!("{path} is {max}"));
    requirement(
        "user_namespaces",
        max.is_some_and(|max| max > 0),
        true,
        found,
        "sysctl user.max_user_namespaces=65536, and a kernel with CONFIG_USER_NS",
    )
}

/// Whether memory and processes can be limited.
#[must_use]
pub fn cgroups() -> Requirement {
    let (met, found) = match cgroup::detect() {
        Ok(layout) => {
            let told: Vec<String> = layout
                .hierarchies
                .iter()
                .map(|it| {
                    let version = if it.v2 { "v2" } else { "v1" };
                    format!("{} on {version} at {}", it.controllers.join(", "), it.own.display())
                })
                .collect();
            (true, told.join("; "))
        }
        Err(error) => (false, error.to_string()),
    };
    requirement(
        "cgroups",
        met,
        true,
        found,
        "mount cgroup2 with the memory and pids controllers (or the v1 hierarchies of both); under systemd, \
         Delegate=yes in the unit",
    )
}

/// Whether the kernel filters system calls.
#[must_use]
pub fn seccomp() -> Requirement {
    let actions =
        std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let met = actions.split_whitespace().any(|action| action == "errno");
    let found =
        if met { "the kernel filters system calls" } else { "no seccomp filters in this kernel" };
    requirement("seccomp", met, true, found.to_owned(), "a kernel with CONFIG_SECCOMP_FILTER")
}

fn landlock() -> Requirement {
    // Making a ruleset needs every access right and scope to be known, and restricts nobody.
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create);
    let found = match &ruleset {
        Ok(_) => "a ruleset with scopes (ABI 6) was made".to_owned(),
        Err(error) => format!("no ruleset with scopes (ABI 6): {error}"),
    };
    requirement(
        "landlock",
        ruleset.is_ok(),
        true,
        found,
        "Linux 6.12 or later with landlock among the LSMs (lsm=landlock,… on the kernel command line)",
    )
}

fn requirement(name: &str, met: bool, required: bool, found: String, remedy: &str) -> Requirement {
    let remedy = if met { String::new() } else { remedy.to_owned() };
    Requirement { name: name.to_owned(), met, required, found, remedy }
}
