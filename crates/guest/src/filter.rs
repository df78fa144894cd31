//! The syscall allow-list: `syscalls.json`, each entry with its reason, compiled to BPF.
//!
//! The guest itself runs under the whole list from before its first word with anybody. A zygote adds, before its first
//! instruction, what leaves out that which only the guest needs, and every fork inherits these filters. A sandbox adds
//! one that refuses what only its own confinement needed: the strictest answer of all filters counts. (Rejected: the shorter allow-list as the second filter. Its 1,136 instructions were translated anew in
//! every fork, for the same result.) What is not listed answers `EPERM`;
//! `clone3` answers `ENOSYS`, since its flags are behind a pointer that a filter can't follow, and glibc then
//! uses `clone`.

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Lack;

const LIST: &str = include_str!("syscalls.json");

/// What answers as if this kernel did not have it.
#[cfg(not(feature = "weakened-seccomp"))]
const ABSENT: [&str; 1] = ["clone3"];

/// Where the rest is only noted, still without io_uring: Node.js makes a ring where it can, in memory that all forks of a
/// zygote would share, and the guest refuses such a zygote. That is another control than the one with the hole in it.
#[cfg(feature = "weakened-seccomp")]
const ABSENT: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];

/// Who is filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Process 1, before it reads anything.
    Guest,
    /// The same, where it shows each of several zygotes its own bundle.
    GuestOfSeveral,
    /// A zygote, before it runs its program, under the filters inherited from the guest.
    Zygote,
    /// A sandbox, as its last stage, under the filters inherited from its zygote.
    Sandbox,
}

/// How many filters a sandbox runs under: two of the guest, and one each of its zygote and its own.
pub(crate) const FILTERS_OF_SANDBOX: u32 = 4;

/// Why no filter could be made or applied.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// `syscalls.json` is wrong.
    #[error("the syscall list can't be read: {0}")]
    List(#[from] serde_json::Error),
    /// The list does not compile, or the kernel refused the filter.
    #[error("syscall filter: {0}")]
    Filter(#[from] seccompiler::Error),
    /// Nothing to apply: never accepted in silence.
    #[error("the compiled syscall filter is empty")]
    Empty,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    why: String,
    names: Vec<String>,
    #[serde(default)]
    arg: Option<Arg>,
    /// For the guest alone.
    #[serde(default)]
    guest: bool,
    /// For a guest with several zygotes alone.
    #[serde(default)]
    several: bool,
    /// For guest and zygotes, until a child is confined.
    #[serde(default)]
    zygote: bool,
    /// Allowed only where the kernel lacks this.
    #[serde(default)]
    without: Option<Lack>,
}

impl Entry {
    fn is_for(&self, lacks: &[Lack]) -> bool {
        !self.several && self.without.is_none_or(|lack| lacks.contains(&lack))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arg {
    index: u8,
    #[serde(default)]
    masked: Option<u64>,
    equals: u64,
}

/// Filters ready to be applied, in order.
#[derive(Debug, Clone)]
pub struct Filters(Vec<BpfProgram>);

/// Compiles the filters for `who`, on a kernel that lacks `lacks`.
///
/// # Errors
/// When the list is wrong: a bug of ours that every test meets first.
pub fn compile(who: Who, lacks: &[Lack]) -> Result<Filters, FilterError> {
    // One that only notes what it would refuse: in test builds that the audit has to see through.
    let weakened = cfg!(feature = "weakened-seccomp");
    let refuse = if weakened { json!("log") } else { json!({"errno": libc::EPERM}) };
    let allow = json!("allow");
    match who {
        Who::Guest | Who::GuestOfSeveral => {
            let several = who == Who::GuestOfSeveral;
            let wanted = |entry: &Entry| entry.is_for(lacks) || (several && entry.several);
            let allowed = program(rules(wanted)?, &refuse, &allow)?;
            let absent = ABSENT.map(|name| json!({"syscall": name}));
            let no_such = program(json!(absent), &allow, &json!({"errno": libc::ENOSYS}))?;
            // The newest filter's errno wins a tie, so the allow-list comes first and lets clone3 through; as do later ones.
            Ok(Filters(vec![allowed, no_such]))
        }
        Who::Zygote => {
            let allowed = rules(|entry| !entry.guest && entry.is_for(lacks))?;
            Ok(Filters(vec![program(allowed, &refuse, &allow)?]))
        }
        Who::Sandbox => {
            let refused = rules(|entry| entry.zygote && entry.is_for(lacks))?;
            Ok(Filters(vec![program(refused, &allow, &refuse)?]))
        }
    }
}

/// Applies them to the calling thread, which must be the only one. Sets `no_new_privs` first.
///
/// # Errors
/// When the kernel refuses.
pub fn apply(filters: &Filters) -> Result<(), FilterError> {
    if filters.0.iter().any(Vec::is_empty) {
        return Err(FilterError::Empty);
    }
    filters.0.iter().try_for_each(|filter| Ok(seccompiler::apply_filter(filter)?))
}

fn program(filter: Value, otherwise: &Value, on_match: &Value) -> Result<BpfProgram, FilterError> {
    let source = json!({"it": {
        "mismatch_action": otherwise, "match_action": on_match, "filter": filter,
    }});
    let text = serde_json::to_vec(&source)?;
    let mut programs = compile_from_json(text.as_slice(), TargetArch::x86_64)?;
    programs.remove("it").ok_or(FilterError::Empty)
}

fn rules(wanted: impl Fn(&Entry) -> bool) -> Result<Value, FilterError> {
    let entries: Vec<Entry> = serde_json::from_str(LIST)?;
    let wanted = entries.iter().filter(|entry| wanted(entry));
    let rules = wanted.flat_map(|entry| entry.names.iter().map(move |name| rule(entry, name)));
    Ok(rules.collect())
}

fn rule(entry: &Entry, name: &str) -> Value {
    let Some(arg) = entry.arg else {
        return json!({"syscall": name, "comment": entry.why});
    };
    let op = arg.masked.map_or(json!("eq"), |mask| json!({"masked_eq": mask}));
    let condition = json!({"index": arg.index, "type": "dword", "op": op, "val": arg.equals});
    json!({"syscall": name, "comment": entry.why, "args": [condition]})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_list_compiles() {
        for lacks in [&[][..], &[Lack::Landlock]] {
            let count = |who| compile(who, lacks).unwrap().0.len();
            let all = [Who::Guest, Who::GuestOfSeveral, Who::Zygote, Who::Sandbox];
            assert_eq!(all.map(count), [2, 2, 1, 1]);
            assert_eq!(FILTERS_OF_SANDBOX, 2 + 1 + 1);
        }
    }

    #[test]
    fn every_entry_has_a_reason_and_none_is_said_twice() {
        let entries: Vec<Entry> = serde_json::from_str(LIST).unwrap();
        let mut plain = std::collections::HashSet::new();
        for entry in &entries {
            assert!(entry.why.len() > 15, "{:?}", entry.names);
            for name in entry.names.iter().filter(|_| entry.arg.is_none()) {
                assert!(plain.insert(name), "{name} is allowed twice");
            }
        }
    }

    #[test]
    fn what_a_sandbox_refuses_is_nothing_that_it_needs() {
        let entries: Vec<Entry> = serde_json::from_str(LIST).unwrap();
        let (refused, needed): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|entry| entry.zygote || entry.guest);
        assert!(!refused.is_empty());
        for entry in refused {
            for name in &entry.names {
                let same = |other: &&&Entry| {
                    other.names.contains(name)
                        && (other.arg.is_none() || entry.arg.is_none() || other.arg == entry.arg)
                };
                assert!(needed.iter().find(same).is_none(), "{name} is both");
            }
        }
    }

    #[test]
    fn what_takes_a_missing_facilitys_place_is_allowed_only_where_it_is_missing() {
        let text = |lacks: &[Lack]| rules(|entry| entry.is_for(lacks)).unwrap().to_string();
        let network = (libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWIPC).to_string();
        assert!(!text(&[]).contains(&network));
        assert!(text(&[Lack::Landlock]).contains(&network));
        assert!(!text(&[Lack::Landlock]).contains("\"mount\""));
        assert!(text(&[Lack::TmpLink]).contains("\"mount\""));
    }

    #[test]
    fn what_shows_a_zygote_its_bundle_is_for_guests_of_several_alone() {
        let entries: Vec<Entry> = serde_json::from_str(LIST).unwrap();
        let several: Vec<&Entry> = entries.iter().filter(|entry| entry.several).collect();
        assert_eq!(several.len(), 3);
        for entry in several {
            assert!(entry.guest && !entry.zygote && !entry.is_for(&[]), "{:?}", entry.names);
            assert!(entry.arg.is_some(), "{:?} with whatever arguments", entry.names);
        }
    }

    #[test]
    fn what_opens_the_kernel_is_on_neither_list() {
        // What takes a missing facility's place is another kernel's business, behind another wall.
        let text = rules(|entry| entry.is_for(&[])).unwrap().to_string();
        assert!(text.contains("\"openat\""));
        for name in [
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "setns",
            "bpf",
            "perf_event_open",
            "ptrace",
            "keyctl",
            "add_key",
            "request_key",
            "userfaultfd",
            "io_uring_setup",
            "init_module",
            "kexec_load",
            "memfd_create",
            "process_vm_readv",
            "open_tree",
            "move_mount",
            "fsopen",
            "shmget",
            "msgget",
            "semget",
            "mq_open",
            "personality",
            "mlockall",
            "setpriority",
            "sched_setscheduler",
            "ioprio_set",
            "mknod",
            "mknodat",
            "name_to_handle_at",
            "open_by_handle_at",
            // What tells of others, or holds them up, by way of files and memory that all have in common.
            "inotify_init",
            "inotify_init1",
            "inotify_add_watch",
            "fanotify_init",
            "flock",
            "fadvise64",
            "readahead",
            "mincore",
            "preadv2",
            "pidfd_getfd",
            "vmsplice",
        ] {
            assert!(!text.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
