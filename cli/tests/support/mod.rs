//! Running the command and looking at what it said; files of one test in a folder of its own.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of several test binaries, each of which uses some of it"
)]

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// The command, with nothing on stdin.
pub fn ringbolt(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringbolt"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The result, which is the only thing on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON object ({error}): {self:#?}"))
    }

    /// A figure of the result.
    pub fn count(&self, name: &str) -> u64 {
        self.json()[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} is no count: {self:#?}"))
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// What holds for every result: the deliveries add up, and every key was in order.
    #[track_caller]
    pub fn expect_consistent(self) -> Self {
        let ended: u64 = [
            "handled",
            "failed",
            "dead_lettered",
            "skipped",
            "withdrawn",
            "abandoned",
        ]
        .iter()
        .map(|name| self.count(name))
        .sum();
        assert_eq!(self.count("admitted"), ended, "{self:#?}");
        assert_eq!(self.count("order_violations"), 0, "{self:#?}");
        let by_type: u64 = self.json()["types"]
            .as_object()
            .expect("types is an object")
            .values()
            .map(|count| count.as_u64().expect("types has counts"))
            .sum();
        assert_eq!(by_type, self.count("handled"), "{self:#?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }
}

/// Runs to the end.
pub fn run(args: &[&str]) -> Ran {
    ringbolt(args).output().expect("the command starts").into()
}

/// Runs to the end, with a JSON result and this on stdin.
pub fn run_with_stdin(args: &[&str], stdin: &[u8]) -> Ran {
    let mut child = ringbolt(args)
        .args(["--format", "json"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut pipe = child.stdin.take().expect("stdin is a pipe");
    // A run that ends at a bad line does not read the rest.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    ended(child)
}

/// Waits for the end.
pub fn ended(child: Child) -> Ran {
    child.wait_with_output().expect("the command ends").into()
}

/// An empty folder for one test.
pub fn folder(test: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the target folder can be written");
    path
}

/// A file in a test's folder; its path as an argument.
pub fn file(folder: &std::path::Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("the target folder can be written");
    path.to_str()
        .expect("the target folder's name is text")
        .to_owned()
}
