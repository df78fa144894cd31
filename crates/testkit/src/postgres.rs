//! PostgreSQL for tests: a database of its own for each, in a cluster that nobody else uses.
//!
//! With `DATABASE_URL` (of a role that may create databases) databases are made there. Without it a private cluster
//! is started, once for all tests that run at the same time and shortly after one another, and stopped half a minute
//! after the last of them: each test process holds a shared lock on a file, and a small shell script beside the
//! cluster waits until it gets that lock for itself. It is a real one, with `fsync` on, and does not run as root.
#![allow(
    clippy::disallowed_methods,
    reason = "it starts PostgreSQL, where the environment says so"
)]
#![allow(clippy::unwrap_used, reason = "a test without its database fails")]

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest that what is left of a dead cluster holds its shared memory, on a busy machine.
const LETS_GO: Duration = Duration::from_secs(60);

/// An empty database. It is dropped with this value, whoever still uses it.
#[derive(Debug)]
pub struct Database {
    url: String,
    name: String,
    server: String,
}

impl Database {
    /// `postgres://…`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes all that is in it to `file`, as SQL that any later version reads.
    ///
    /// # Panics
    /// When `pg_dump` does not end well.
    pub fn dump(&self, file: &Path) {
        let mut dump = Command::new(programs().unwrap().join("pg_dump"));
        dump.args(["--no-owner", "--no-privileges", "--inserts", "-d", &self.url]);
        let output = dump.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        // Words to `psql` itself, which not every version knows.
        let sql: Vec<&str> = text.lines().filter(|line| !line.starts_with('\\')).collect();
        std::fs::write(file, sql.join("\n") + "\n").unwrap();
    }

    /// Runs what [`Self::dump`] wrote.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn restore(&self, file: &Path) {
        let mut psql = Command::new(programs().unwrap().join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url, "-f"]).arg(file);
        let output = psql.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(sql(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)));
    }
}

/// A database of its own: in the cluster that `DATABASE_URL` names, or in the private one.
///
/// # Panics
/// When PostgreSQL is not installed (`make setup` does that) or can't be started.
#[must_use]
pub fn postgres() -> Database {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    let server = match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => url,
        _ => SHARED.get_or_init(Shared::join).url.clone(),
    };
    database_in(&server)
}

fn database_in(server: &str) -> Database {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let name = format!("bulkhead_test_{}_{number}", std::process::id());
    sql(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).unwrap();
    sql(server, &format!("CREATE DATABASE {name}")).unwrap();
    let (head, query) = server
        .split_once('?')
        .map_or((server, String::new()), |(head, query)| (head, format!("?{query}")));
    // What follows the host, if anything, names another database.
    let host_at = head.find("://").map_or(0, |at| at + 3);
    let end = head[host_at..].find('/').map_or(head.len(), |at| host_at + at);
    Database { url: format!("{}/{name}{query}", &head[..end]), name, server: server.to_owned() }
}

/// Runs SQL; returns what `psql` printed, one line per row.
///
/// # Errors
/// What `psql` said.
pub fn sql(url: &str, sql: &str) -> Result<String, String> {
    let mut psql = Command::new(programs()?.join("psql"));
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
    let output = psql.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Membership in the cluster that tests share, for as long as the process lives.
#[derive(Debug)]
struct Shared {
    url: String,
    _member: File,
}

/// Stops the cluster once nobody has held the lock at two looks in a row, and takes its files away.
const CARETAKER: &str = r#"
cd "$1" || exit
idle=0
while sleep 10; do
    if flock -n -x members true; then idle=$((idle + 1)); else idle=0; fi
    [ "$idle" -lt 2 ] && continue
    exec 9>>members
    flock -n -x 9 || { exec 9>&-; idle=0; continue; }
    shift
    "$@" stop -D data -m immediate -s
    rm -rf data url
    exit
done
"#;

impl Shared {
    fn join() -> Self {
        let user = std::fs::metadata("/proc/self").unwrap().uid();
        let home = std::env::temp_dir().join(format!("bulkhead-postgres-{user}"));
        std::fs::create_dir_all(&home).unwrap();
        assert_eq!(std::fs::metadata(&home).unwrap().uid(), user, "{} is not ours", home.display());
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
        let member = File::options().create(true).append(true).open(home.join("members")).unwrap();
        member.lock_shared().unwrap();
        let starting = File::create(home.join("starting")).unwrap();
        starting.lock().unwrap();
        let running = std::fs::read_to_string(home.join("url")).ok();
        let running = running.filter(|url| sql(url, "SELECT 1").is_ok());
        let url = running.unwrap_or_else(|| {
            drop(std::fs::remove_dir_all(home.join("data")));
            let cluster = Cluster::create(&home).unwrap();
            std::fs::write(home.join("url"), cluster.url()).unwrap();
            Self::leave_to_caretaker(&home);
            cluster.leave()
        });
        Self { url, _member: member }
    }

    fn leave_to_caretaker(home: &Path) {
        let mut caretaker = Command::new("setsid");
        caretaker.args(["sh", "-c", CARETAKER, "caretaker"]).arg(home);
        caretaker.args(command("pg_ctl").unwrap());
        let quiet = caretaker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(quiet.spawn().unwrap());
    }
}

/// A private cluster that a test may kill. Stopped and removed with this value.
#[derive(Debug)]
pub struct Cluster {
    home: PathBuf,
    port: u16,
    temporary: Option<tempfile::TempDir>,
}

impl Cluster {
    /// A new one, running.
    ///
    /// # Panics
    /// When PostgreSQL is not installed (`make setup` does that) or can't be started.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut cluster = Self::create(directory.path()).unwrap();
        cluster.temporary = Some(directory);
        cluster
    }

    /// Its URL, of the superuser and the database `postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://bulkhead@127.0.0.1:{}/postgres", self.port)
    }

    /// A database of its own in it.
    #[must_use]
    pub fn database(&self) -> Database {
        database_in(&self.url())
    }

    /// Kills it as a power cut would, but for what the kernel holds: SIGKILL, then what is left of it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.home.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        // Its children notice, and let go of the shared memory.
        while Path::new("/proc").join(&pid).exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again, on the same port. What is left of one that was killed may need a moment to let go.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start_again(&self) {
        let deadline = Instant::now() + LETS_GO;
        while let Err(error) = self.run() {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills a backend that serves `database`, the one that `which` falls on: the postmaster, which can't know what it
    /// left in shared memory, ends all others and begins anew.
    ///
    /// # Panics
    /// When nobody is connected to it for long.
    pub fn kill_backend(&self, database: &Database, which: usize) {
        let backends = "SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid";
        let deadline = Instant::now() + LETS_GO;
        loop {
            // It may be just coming back from something else.
            let pids = sql(database.url(), backends).unwrap_or_default();
            let pids: Vec<&str> = pids.lines().collect();
            if !pids.is_empty() {
                let pid = pids[which % pids.len()];
                // Gone by itself meanwhile is gone as well.
                drop(Command::new("kill").args(["-KILL", pid]).status());
                return;
            }
            assert!(Instant::now() < deadline, "nobody uses the database");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn create(home: &Path) -> Result<Self, String> {
        let data = home.join("data");
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
        if is_root() {
            done(Command::new("chown").arg(owner()?).arg(&data))?;
        }
        let options = ["-U", "bulkhead", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"];
        done(run_as_owner("initdb")?.args(options).arg("-D").arg(&data))?;
        let mut settings = File::options().append(true).open(data.join("postgresql.conf")).unwrap();
        settings.write_all(SETTINGS.as_bytes()).unwrap();
        for _ in 0..5 {
            let cluster = Self { home: home.to_owned(), port: free_port(), temporary: None };
            match cluster.run() {
                Ok(()) => return Ok(cluster),
                // Somebody was faster at the port.
                Err(error) if error.contains("Address already in use") => cluster.leave(),
                Err(error) => return Err(error),
            };
        }
        Err("found no free port".to_owned())
    }

    fn run(&self) -> Result<(), String> {
        let log = self.home.join("data/log");
        let options = format!("-p {}", self.port);
        let mut start = run_as_owner("pg_ctl")?;
        start.args(["start", "-w", "-s", "-t", "60", "-o", &options, "-l"]).arg(&log);
        done(start.arg("-D").arg(self.home.join("data"))).map_err(|error| {
            format!("{error}{}", std::fs::read_to_string(&log).unwrap_or_default())
        })
    }

    /// Lets it run on.
    fn leave(mut self) -> String {
        let url = self.url();
        self.home = PathBuf::new();
        url
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.home.as_os_str().is_empty() {
            return;
        }
        let data = self.home.join("data");
        let stop = run_as_owner("pg_ctl")
            .map(|mut stop| done(stop.args(["stop", "-m", "immediate", "-s", "-D"]).arg(&data)));
        drop(stop);
    }
}

/// As it is installed, but for where it listens and how many may connect: many tests run at the same time.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 400
fsync = on
";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Whose the cluster is when the tests run as root, which PostgreSQL refuses to.
fn owner() -> Result<&'static str, String> {
    let users = std::fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let has = |name: &str| users.lines().any(|line| line.starts_with(&format!("{name}:")));
    ["postgres", "nobody"]
        .into_iter()
        .find(|name| has(name))
        .ok_or("no user to run it as".to_owned())
}

/// A program of PostgreSQL's, with what comes before it so that it does not run as root.
fn command(name: &str) -> Result<Vec<String>, String> {
    let program = programs()?.join(name).display().to_string();
    match is_root() {
        true => Ok(["runuser", "-u", owner()?, "--", &program].map(str::to_owned).to_vec()),
        false => Ok(vec![program]),
    }
}

fn run_as_owner(name: &str) -> Result<Command, String> {
    let words = command(name)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/");
    Ok(command)
}

/// Where Debian has PostgreSQL's programs: the newest that will do.
fn programs() -> Result<PathBuf, String> {
    let versions = (15..30).rev().map(|major| format!("/usr/lib/postgresql/{major}/bin"));
    let found = versions.map(PathBuf::from).find(|bin| bin.join("initdb").exists());
    found
        .ok_or_else(|| "PostgreSQL 15 or later is not installed: `make setup` does that".to_owned())
}

fn done(command: &mut Command) -> Result<(), String> {
    let file = tempfile::tempfile().map_err(|error| error.to_string())?;
    let both = file.try_clone().map_err(|error| error.to_string())?;
    // Into a file: what it starts would keep a pipe open.
    let status =
        command.stdin(Stdio::null()).stdout(both).stderr(file.try_clone().unwrap()).status();
    if status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Ok(());
    }
    let mut said = String::new();
    let mut file = file;
    drop(std::io::Seek::rewind(&mut file));
    drop(std::io::Read::read_to_string(&mut file, &mut said));
    Err(format!("{command:?} failed: {said}"))
}
