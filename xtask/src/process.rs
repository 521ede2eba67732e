//! Runs another program with a time budget, its output kept in a file and read line by line.
//!
//! Invariant: a program that is over its budget is ended together with all that descends from it; nothing hangs and nothing
//! is left behind. Children stay in our process group, so that Ctrl-C reaches them as well.

use crate::Outcome;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) over_budget: bool,
    pub(crate) took: Duration,
    /// What it printed, standard output and standard error as they came.
    pub(crate) lines: Vec<String>,
}

impl Ended {
    /// The last lines, for a person who wants to see why.
    pub(crate) fn tail(&self, count: usize) -> String {
        let from = self.lines.len().saturating_sub(count);
        self.lines[from..].join("\n")
    }
}

/// Runs `command` for at most `budget`, writing all that it prints to `log`.
pub(crate) fn run(mut command: Command, budget: Duration, log: &Path) -> Outcome<Ended> {
    let name = command.get_program().to_string_lossy().into_owned();
    let folder = log.parent().ok_or("a log file stands in a folder")?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let (reader, writer) = pipe().map_err(|error| format!("pipe: {error}"))?;
    let second = writer.try_clone().map_err(|error| format!("pipe: {error}"))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let started = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
    drop(command); // It holds the writing ends; the reader must see the end of the output.

    let lines = read_lines(reader, file);
    let (printed, over_budget) = follow(&mut child, &lines, started, budget);
    let status = child.wait().map_err(|error| format!("{name}: {error}"))?;
    Ok(Ended { success: status.success() && !over_budget, over_budget, took: started.elapsed(), lines: printed })
}

/// Reads lines on a thread of its own, so that the caller can watch the clock.
fn read_lines(reader: impl std::io::Read + Send + 'static, mut log: File) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            // A full disk must not hide the output from the person who waits for it.
            writeln!(log, "{line}").ok();
            bytes.clear();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Collects lines until the program has ended or its time is up.
fn follow(child: &mut Child, lines: &Receiver<String>, started: Instant, budget: Duration) -> (Vec<String>, bool) {
    const TICK: Duration = Duration::from_millis(200);
    const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
    let mut printed = Vec::new();
    let mut last_sign = started;
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                show_progress(&line);
                printed.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if child.try_wait().is_ok_and(|status| status.is_some()) {
                    // Something that it started still holds its output open, and would outlive it.
                    printed.extend(lines.try_iter());
                    break;
                }
            }
        }
        if started.elapsed() > budget {
            end_tree(child.id());
            clear_progress();
            return (printed, true);
        }
        if last_sign.elapsed() > SIGN_OF_LIFE {
            last_sign = Instant::now();
            eprintln!("      … {} s, {} lines so far", started.elapsed().as_secs(), printed.len());
        }
    }
    clear_progress();
    (printed, false)
}

/// Shows the newest line in place, where a person is looking.
fn show_progress(line: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let shown: String = line.trim().chars().take(90).collect();
        write!(out, "\r\x1b[K      {shown}").and_then(|()| out.flush()).ok();
    }
}

fn clear_progress() {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        write!(out, "\r\x1b[K").and_then(|()| out.flush()).ok();
    }
}

/// Ends a process and all that descends from it: politely, then for good.
fn end_tree(pid: u32) {
    const GRACE: Duration = Duration::from_secs(5);
    let tree = descendants(pid, &parents());
    signal("-TERM", &tree);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && tree.iter().any(|pid| is_running(*pid)) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let left: Vec<u32> = tree.into_iter().filter(|pid| is_running(*pid)).collect();
    signal("-KILL", &left);
}

fn signal(signal: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let pids = pids.iter().map(u32::to_string);
    // A process that ended in the meantime is what we want.
    Command::new("kill").arg(signal).args(pids).stderr(Stdio::null()).status().ok();
}

/// True unless the process is gone or only waits to be reaped.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat_fields(&stat).is_some_and(|(state, _)| state != "Z")
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, stat_fields(&stat)?.1))
    };
    pids.filter_map(parent).collect()
}

/// State and parent out of `/proc/PID/stat`, whose second field is a name that may hold spaces and brackets.
fn stat_fields(stat: &str) -> Option<(&str, u32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?, fields.next()?.parse().ok()?))
}

/// `root` and everything below it.
fn descendants(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(&pid) = tree.get(at) {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        at += 1;
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, budget: Duration, name: &str) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let log = std::env::temp_dir().join(format!("xtask-{}-{name}.log", std::process::id()));
        let ended = run(command, budget, &log).expect("sh starts");
        std::fs::remove_file(log).expect("the log was written");
        ended
    }

    #[test]
    fn output_of_both_streams_and_the_exit_code_are_kept() {
        let ended = shell("echo one; echo two >&2; exit 3", Duration::from_secs(60), "kept");
        assert_eq!((ended.success, ended.over_budget), (false, false));
        assert_eq!(ended.lines, ["one", "two"]);
        assert_eq!(ended.tail(1), "two");
    }

    #[test]
    fn a_program_over_its_budget_ends_with_all_that_it_started() {
        let ended = shell("sleep 1000 & echo $!; wait", Duration::from_millis(300), "budget");
        assert!(ended.over_budget && !ended.success);
        let pid = ended.lines[0].parse().expect("the shell printed a number");
        assert!(!is_running(pid));
    }

    #[test]
    fn a_process_name_may_hold_spaces_and_brackets() {
        assert_eq!(stat_fields("7 (a ) (b) S 3 7 7"), Some(("S", 3)));
        assert_eq!(stat_fields("7 (cut"), None);
    }

    #[test]
    fn descendants_are_found_through_generations() {
        assert_eq!(descendants(1, &[(2, 1), (3, 2), (4, 9), (5, 1)]), [1, 2, 5, 3]);
    }
}
