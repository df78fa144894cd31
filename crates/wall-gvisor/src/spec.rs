//! What `runsc` is told: its command line, and the OCI specification of a compartment.

use bulkhead_guest::fds;
use bulkhead_wall::CompartmentSpec;
use bulkhead_wall_process::mounts::scratch_of;
use bulkhead_wall_process::namespaces::SLOT_UID_FIRST;
use serde_json::{Value, json};

/// `runsc`, in its own root.
pub(crate) const RUNSC: &str = "/runsc";

/// The runtime image, there.
pub(crate) const IMAGE: &str = "/image";

/// The directory of the specification, there.
pub(crate) const BUNDLE: &str = "/oci";

/// Where `runsc` keeps what it has to remember.
pub(crate) const STATE: &str = "/state";

/// What the guest may do, inside: give uids to zygotes and sandboxes, see, kill and clean up after them.
const CAPABILITIES: [&str; 9] = [
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_KILL",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
];

/// The command line after the program's name. Every flag that closes something is said, defaults included: a new
/// release with another default must not open it.
pub(crate) fn arguments() -> Vec<String> {
    let flags = [
        "--platform=systrap",
        "--network=none",
        "--host-uds=none",
        "--host-fifo=none",
        "--fuse=false",
        "--net-raw=false",
        "--overlay2=none",
        "--file-access=exclusive",
        // The launcher has put it into its cgroups already.
        "--ignore-cgroups",
        "--watchdog-action=panic",
        "--log=/dev/null",
    ];
    let mut arguments = vec![format!("--root={STATE}")];
    arguments.extend(flags.map(str::to_owned));
    arguments.push("run".to_owned());
    arguments.push(format!("--bundle={BUNDLE}"));
    for fd in [fds::STREAM, fds::CONFIG] {
        arguments.push(format!("--pass-fd={fd}:{fd}"));
    }
    arguments.push("compartment".to_owned());
    arguments
}

/// The OCI specification.
pub(crate) fn oci(spec: &CompartmentSpec, files_max: u64) -> Value {
    let capabilities = json!(CAPABILITIES);
    let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "hostname": "sandbox",
        "root": {"path": IMAGE, "readonly": true},
        "process": {
            "args": ["/runtime/guest"],
            "env": [],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_MSGQUEUE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_NICE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_RTPRIO", "soft": 0, "hard": 0},
                {"type": "RLIMIT_NOFILE", "soft": files_max, "hard": files_max},
            ],
        },
        "mounts": mounts(spec),
        "linux": {
            "namespaces": namespaces,
        },
    })
}

/// `/proc`, the slots' scratch directories, and lids on the places that `runsc` opens by itself.
fn mounts(spec: &CompartmentSpec) -> Vec<Value> {
    let tmpfs = |path: &str, options: &[&str]| {
        let mut all = vec!["nosuid", "nodev", "noexec"];
        all.extend(options);
        json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": all})
    };
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc",
               "options": ["nosuid", "nodev", "noexec"]}),
        // Without these, runsc mounts directories that everybody can write to, and its view of the hardware.
        tmpfs("/dev/shm", &["ro", "size=4k", "mode=0"]),
        tmpfs("/sys", &["ro", "size=4k", "mode=0"]),
        tmpfs("/tmp", &["ro", "size=4k", "mode=0755"]),
    ];
    for slot in 0..spec.slots {
        let uid = SLOT_UID_FIRST + slot;
        let size = format!("size={}m", spec.scratch_mib);
        let owner = [format!("uid={uid}"), format!("gid={uid}")];
        let options = [size.as_str(), "mode=0700", &owner[0], &owner[1]];
        mounts.push(tmpfs(&scratch_of(slot).to_string_lossy(), &options));
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(slots: u32) -> CompartmentSpec {
        CompartmentSpec {
            mounts: Vec::new(),
            slots,
            scratch_mib: 16,
            scratch_inodes: 256,
            memory_mib: 128,
            processes: 32,
            zygotes: 0,
        }
    }

    #[test]
    fn nothing_that_closes_the_compartment_is_left_to_a_default() {
        let said = arguments();
        for flag in [
            "--platform=systrap",
            "--network=none",
            "--host-uds=none",
            "--host-fifo=none",
            "--fuse=false",
            "--net-raw=false",
        ] {
            assert!(said.iter().any(|it| it == flag), "{flag}");
        }
        let oci = oci(&spec(1), 1024);
        assert_eq!(oci["root"]["readonly"], true);
        assert_eq!(oci["process"]["noNewPrivileges"], true);
    }

    #[test]
    fn each_slot_has_a_scratch_directory_that_is_its_users_alone() {
        let mounts = mounts(&spec(2));
        let scratch: Vec<_> = mounts
            .iter()
            .filter(|it| it["destination"].as_str().is_some_and(|at| at.starts_with("/scratch/")))
            .map(|it| it["options"].to_string())
            .collect();
        assert_eq!(
            scratch,
            [
                r#"["nosuid","nodev","noexec","size=16m","mode=0700","uid=10000","gid=10000"]"#,
                r#"["nosuid","nodev","noexec","size=16m","mode=0700","uid=10001","gid=10001"]"#,
            ]
        );
    }
}
