//! What this machine can do for the gVisor wall.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bulkhead_wall::{Capability, Difference, Requirement};
use bulkhead_wall_process::probe as process;

use crate::LACKS;

/// The first release that has what we use of it: systrap, and descriptors passed to the container.
const RELEASE_MIN: u32 = 20_240_101;

/// Where `runsc` is looked for: nobody's environment decides which program gets root.
const PLACES: [&str; 3] = ["/usr/bin/runsc", "/usr/local/bin/runsc", "/usr/sbin/runsc"];

/// How to get it.
const REMEDY: &str = "install runsc of 2024 or later: `apt-get install -t bookworm-backports runsc` on Debian 12 (bookworm \
                      itself has one of 2022, which will not do), or https://gvisor.dev/docs/user_guide/install";

/// How long the trial may take.
const TRIAL_MAX: Duration = Duration::from_secs(20);

/// The `runsc` of this machine.
#[must_use]
pub fn find() -> Option<PathBuf> {
    PLACES.map(PathBuf::from).into_iter().find(|path| path.is_file())
}

/// What can be told without starting gVisor's kernel.
#[must_use]
pub fn quick(runsc: Option<&Path>) -> Capability {
    capability(vec![
        process::root(),
        process::user_namespaces(),
        process::cgroups(),
        process::seccomp(),
        release(runsc),
    ])
}

/// The same, and gVisor's kernel runs a program as it will in earnest: systrap, no network.
#[must_use]
pub fn thorough() -> Capability {
    let runsc = find();
    let mut found = quick(runsc.as_deref());
    let trial = match runsc.filter(|_| found.available) {
        Some(runsc) => trial(&runsc),
        None => Err("not tried: something that it needs is missing".to_owned()),
    };
    found.requirements.push(requirement("systrap", trial, "a kernel and a container (if any) that allow seccomp filters \
         and user namespaces to root; `runsc --debug --platform=systrap --network=none do true` tells more"));
    capability(found.requirements)
}

fn capability(requirements: Vec<Requirement>) -> Capability {
    let available = requirements.iter().all(|it| it.met || !it.required);
    let differences = LACKS
        .iter()
        .map(|lack| Difference { name: lack.name().to_owned(), instead: lack.instead().to_owned() })
        .collect();
    // Forks are kept apart by uid and by namespaces of gVisor's kernel.
    Capability { available, fork_isolation: available, requirements, differences }
}

fn requirement(name: &str, found: Result<String, String>, remedy: &str) -> Requirement {
    let met = found.is_ok();
    let remedy = if met { String::new() } else { remedy.to_owned() };
    let found = found.unwrap_or_else(|why| why);
    Requirement { name: name.to_owned(), met, required: true, found, remedy }
}

fn release(runsc: Option<&Path>) -> Requirement {
    let found = match runsc {
        None => Err(format!("not at {}", PLACES.join(", "))),
        Some(runsc) => version(runsc).and_then(|text| judge(&text, runsc)),
    };
    requirement("runsc", found, REMEDY)
}

fn version(runsc: &Path) -> Result<String, String> {
    let output = run(runsc, &["--version"], Duration::from_secs(5))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The release is a date somewhere in the first line: `runsc version release-20240729.0`, or `0.0~20240729.0`.
fn judge(text: &str, runsc: &Path) -> Result<String, String> {
    let line = text.lines().next().unwrap_or("");
    let date = line.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 8);
    let told = format!("{} says {line:?}", runsc.display());
    match date.and_then(|date| date.parse::<u32>().ok()) {
        Some(date) if date >= RELEASE_MIN => Ok(told),
        Some(_) => Err(format!("{told}: too old")),
        None => Err(format!("{told}: no release date in it")),
    }
}

fn trial(runsc: &Path) -> Result<String, String> {
    let arguments = ["--platform=systrap", "--network=none", "--ignore-cgroups", "do", "/bin/true"];
    let output = run(runsc, &arguments, TRIAL_MAX)?;
    if output.status.success() {
        return Ok("`runsc --platform=systrap --network=none do /bin/true` ran".to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(500).collect();
    Err(format!("`runsc --platform=systrap --network=none do /bin/true` failed: {said}"))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a probe tries; it has no clock passed in and needs a deadline"
)]
fn run(runsc: &Path, arguments: &[&str], at_most: Duration) -> Result<Output, String> {
    let failed = |error: std::io::Error| format!("{} can't be run: {error}", runsc.display());
    let mut command = Command::new(runsc);
    command.args(arguments).env_clear().stdin(Stdio::null());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let until = Instant::now() + at_most;
    while child.try_wait().map_err(failed)?.is_none() {
        if Instant::now() >= until {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Err(format!("no end within {} s", at_most.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_decides() {
        let check = |text: &str| judge(text, Path::new("/usr/bin/runsc")).is_ok();
        assert!(check("runsc version 0.0~20240729.0\nspec: 1.0.2-dev\n"));
        assert!(check("runsc version release-20250106.0\nspec: 1.1.0\n"));
        assert!(!check("runsc version 0.0~20221219.0\n"));
        assert!(!check("runsc version VERSION_MISSING\n"));
        assert!(!check(""));
    }
}
