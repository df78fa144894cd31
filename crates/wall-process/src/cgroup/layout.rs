//! Where this process's cgroups are: a pure reading of `/proc/self/mountinfo` and `/proc/self/cgroup`.

use std::path::{Path, PathBuf};

/// The controllers that are used where they are there; the first two are needed.
const WANTED: [&str; 3] = ["memory", "pids", "cpu"];

/// One mounted hierarchy that has controllers we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Directory of this process's own cgroup in it.
    pub own: PathBuf,
    /// Those of memory, pids and cpu that it has.
    pub controllers: Vec<String>,
    /// Whether it is the unified one.
    pub v2: bool,
}

impl Hierarchy {
    /// Whether it has the controller.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|it| it == controller)
    }
}

/// The hierarchies to use; each controller stands in one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// At most one per wanted controller.
    pub hierarchies: Vec<Hierarchy>,
}

/// Why cgroups can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A file of `/proc/self` can't be read.
    #[error("{0} can't be read: {1}")]
    Unreadable(String, String),
    /// A needed controller is in no mounted hierarchy.
    #[error(
        "no cgroup hierarchy with the {0} controller is mounted; mount cgroup2 on /sys/fs/cgroup"
    )]
    Missing(&'static str),
}

/// Finds them on this machine.
///
/// # Errors
/// When a needed controller is nowhere.
pub fn detect() -> Result<Layout, LayoutError> {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map_err(|error| LayoutError::Unreadable(path.to_owned(), error.to_string()))
    };
    let available = |own: &Path| {
        // The root lists what it could give; below it, what the parent gave.
        std::fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default()
    };
    find(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?, &available)
}

fn find(
    mountinfo: &str,
    cgroup: &str,
    v2_controllers: &dyn Fn(&Path) -> String,
) -> Result<Layout, LayoutError> {
    let mut layout = Layout { hierarchies: Vec::new() };
    for mount in mountinfo.lines().filter_map(parse_mount) {
        let Some(path) = own_path(cgroup, &mount) else { continue };
        let own = mount.point.join(path.trim_start_matches('/'));
        let offered = if mount.v2 { v2_controllers(&own) } else { mount.options.replace(',', " ") };
        let new = |name: &&str| {
            offered.split_whitespace().any(|it| it == *name)
                && !layout.hierarchies.iter().any(|hierarchy| hierarchy.has(name))
        };
        let controllers: Vec<String> =
            WANTED.iter().filter(|name| new(name)).map(|name| (*name).to_owned()).collect();
        if !controllers.is_empty() {
            layout.hierarchies.push(Hierarchy { own, controllers, v2: mount.v2 });
        }
    }
    for needed in ["memory", "pids"] {
        if !layout.hierarchies.iter().any(|hierarchy| hierarchy.has(needed)) {
            return Err(LayoutError::Missing(needed));
        }
    }
    Ok(layout)
}

struct Mounted {
    point: PathBuf,
    root: String,
    options: String,
    v2: bool,
}

/// A line of mountinfo: `36 35 98:0 /root /point opts [optional]* - type source superopts`.
fn parse_mount(line: &str) -> Option<Mounted> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, options) = (right.next()?, right.nth(1)?);
    let v2 = match kind {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    Some(Mounted {
        point: PathBuf::from(point),
        root: root.to_owned(),
        options: options.to_owned(),
        v2,
    })
}

/// This process's path in the hierarchy, seen from where it is mounted.
fn own_path<'a>(cgroup: &'a str, mount: &Mounted) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let this = if mount.v2 {
            number == "0" && controllers.is_empty()
        } else {
            controllers
                .split(',')
                .any(|it| !it.is_empty() && mount.options.split(',').any(|o| o == it))
        };
        // A hierarchy mounted from below its root (as in a container) shows the rest of the path only.
        this.then(|| path.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or("/"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn check(mountinfo: &str, cgroup: &str, v2: &str) -> String {
        match find(mountinfo, cgroup, &|_| v2.to_owned()) {
            Ok(layout) => layout
                .hierarchies
                .iter()
                .map(|h| {
                    format!(
                        "{} {:?}{}",
                        h.own.display(),
                        h.controllers,
                        if h.v2 { " v2" } else { "" }
                    )
                })
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => error.to_string(),
        }
    }

    const V2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
    const MEMORY: &str = "40 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
    const PIDS: &str = "41 23 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
    const CPU: &str = "42 23 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct";
    const EMPTY_V2: &str = "43 23 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn v2_alone() {
        let found = check(V2, "0::/system.slice/bulkhead.service\n", "cpuset cpu io memory pids");
        assert_eq!(
            found,
            r#"/sys/fs/cgroup/system.slice/bulkhead.service ["memory", "pids", "cpu"] v2"#
        );
    }

    #[test]
    fn v1_controllers_beside_an_empty_v2() {
        let mounts = [MEMORY, PIDS, CPU, EMPTY_V2].join("\n");
        let found = check(&mounts, "4:memory:/a/b\n8:pids:/\n1:cpu,cpuacct:/\n0::/\n", "");
        assert_eq!(
            found,
            r#"/sys/fs/cgroup/memory/a/b ["memory"]; /sys/fs/cgroup/pids/ ["pids"]; /sys/fs/cgroup/cpu/ ["cpu"]"#
        );
    }

    #[test]
    fn controllers_split_between_both() {
        let found = check(&[MEMORY, V2].join("\n"), "4:memory:/\n0::/\n", "pids");
        assert_eq!(found, r#"/sys/fs/cgroup/memory/ ["memory"]; /sys/fs/cgroup/ ["pids"] v2"#);
    }

    #[test]
    fn a_container_sees_the_rest_of_its_path() {
        let mount = "40 23 0:30 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let mounts = [mount, PIDS].join("\n");
        let found = check(&mounts, "4:memory:/docker/x/y\n8:pids:/\n", "");
        assert_eq!(found, r#"/sys/fs/cgroup/memory/y ["memory"]; /sys/fs/cgroup/pids/ ["pids"]"#);
    }

    #[test]
    fn nothing_is_an_error_that_says_what_to_mount() {
        assert_eq!(
            check("", "0::/\n", ""),
            "no cgroup hierarchy with the memory controller is mounted; mount cgroup2 on /sys/fs/cgroup"
        );
        assert!(check(EMPTY_V2, "0::/\n", "memory").contains("pids"));
    }
}
