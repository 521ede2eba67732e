//! What `/proc` says about the server: CPU time, resident memory, open files.
//!
//! CPU comes from two places. `/proc/PID/stat` has user and system time in ticks of 10 ms, threads that have ended included; the `schedstat` of each
//! thread has nanoseconds, living threads only. A short round needs the latter, the split between user and system the former.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, anyhow};

/// A process whose costs are measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pid: u32,
}

/// CPU time that a process had used at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// All threads that live, in nanoseconds.
    pub(crate) total_ns: u64,
    /// In user mode, in clock ticks.
    pub(crate) user_ticks: u64,
    /// In the kernel, in clock ticks.
    pub(crate) system_ticks: u64,
}

impl Process {
    pub(crate) fn with_pid(pid: u32) -> Self {
        Self { pid }
    }

    /// The load generator itself.
    pub(crate) fn own() -> Self {
        Self::with_pid(std::process::id())
    }

    pub(crate) fn cpu(self) -> Result<CpuTime> {
        let (user_ticks, system_ticks) = parse_stat(&self.read("stat")?)?;
        Ok(CpuTime { total_ns: self.threads_ns()?, user_ticks, system_ticks })
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(self) -> Result<u64> {
        parse_resident(&self.read("status")?)
    }

    /// How many files it may open at most (the soft limit).
    pub(crate) fn open_files_max(self) -> Result<u64> {
        parse_open_files_max(&self.read("limits")?)
    }

    fn threads_ns(self) -> Result<u64> {
        let folder = format!("/proc/{}/task", self.pid);
        let threads = fs::read_dir(&folder).with_context(|| gone(self.pid))?;
        let mut sum = 0;
        for thread in threads.flatten() {
            // A thread may end between the listing and the reading.
            if let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) {
                sum += parse_schedstat(&text)?;
            }
        }
        Ok(sum)
    }

    fn read(self, file: &str) -> Result<String> {
        let mut path = String::from("/proc/");
        write!(path, "{}/{file}", self.pid).expect("a String takes all that is written");
        fs::read_to_string(&path).with_context(|| gone(self.pid))
    }
}

impl CpuTime {
    /// What was used since `earlier`. Threads that ended meanwhile took their nanoseconds with them, and a kernel may not count any: then the ticks, of
    /// which the first and the last may be partial, know more.
    pub(crate) fn since(self, earlier: Self) -> Self {
        let user_ticks = self.user_ticks.saturating_sub(earlier.user_ticks);
        let system_ticks = self.system_ticks.saturating_sub(earlier.system_ticks);
        let sure_ticks = (user_ticks + system_ticks).saturating_sub(2);
        let living_ns = self.total_ns.saturating_sub(earlier.total_ns);
        Self { total_ns: living_ns.max(sure_ticks * TICK_NS), user_ticks, system_ticks }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.total_ns += other.total_ns;
        self.user_ticks += other.user_ticks;
        self.system_ticks += other.system_ticks;
    }

    /// All of it in seconds.
    pub(crate) fn seconds(self) -> f64 {
        self.total_ns as f64 / 1e9
    }

    /// The part of it that was spent in user mode, 0 to 1.
    pub(crate) fn user_share(self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 {
            return 0.0;
        }
        self.user_ticks as f64 / ticks as f64
    }
}

/// A clock tick of `/proc`; 100 a second on every Linux that Rust runs on.
const TICK_NS: u64 = 10_000_000;

fn gone(pid: u32) -> String {
    format!("process {pid} can't be measured: give the pid of a running server with --pid")
}

/// Fields 14 and 15 of `stat`. The command name before them may hold spaces and brackets, so counting starts at the last bracket.
fn parse_stat(text: &str) -> Result<(u64, u64)> {
    let after_name = text.rfind(')').context("no command name in /proc/PID/stat")?;
    let mut fields = text[after_name + 1..].split_ascii_whitespace().skip(11);
    let mut ticks = || -> Result<u64> {
        let field = fields.next().context("/proc/PID/stat ends early")?;
        field.parse().with_context(|| format!("`{field}` in /proc/PID/stat is no count of ticks"))
    };
    Ok((ticks()?, ticks()?))
}

/// The first field of `schedstat`: nanoseconds on a CPU.
fn parse_schedstat(text: &str) -> Result<u64> {
    text.split_ascii_whitespace()
        .next()
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| anyhow!("/proc/PID/task/TID/schedstat holds `{}`", text.trim()))
}

fn parse_resident(text: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status: has the process ended?")?;
    let kilobytes: u64 =
        line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("VmRSS in /proc/PID/status is `{}`", line.trim()))?;
    Ok(kilobytes * 1024)
}

fn parse_open_files_max(text: &str) -> Result<u64> {
    let field = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_ascii_whitespace().next())
        .context("no open-files limit in /proc/PID/limits")?;
    match field {
        "unlimited" => Ok(u64::MAX),
        count => count.parse().with_context(|| format!("the open-files limit in /proc/PID/limits is `{count}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line = |name: &str| format!("42 ({name}) S 1 42 42 0 -1 4194560 10 0 0 0 731 269 5 6 20 0 3 0 99 1000 200");
        for name in ["omnivox", "two words", "odd) (name", "tokio (1)"] {
            assert_eq!(parse_stat(&line(name)).unwrap(), (731, 269), "{name}");
        }
        for bad in ["", "42 omnivox S 1", "42 (omnivox) S 1 42"] {
            assert!(parse_stat(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schedstat_status_and_limits() {
        assert_eq!(parse_schedstat("508609 58640 1\n").unwrap(), 508_609);
        assert!(parse_schedstat("\n").is_err());
        let status = "Name:\tomnivox\nVmPeak:\t  900 kB\nVmRSS:\t   5120 kB\nThreads:\t3\n";
        assert_eq!(parse_resident(status).unwrap(), 5120 * 1024);
        assert!(parse_resident("Name:\tomnivox\n").is_err());
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            20000                1048576              files\n";
        assert_eq!(parse_open_files_max(limits).unwrap(), 20_000);
        let unlimited = "Max open files            unlimited            unlimited            files\n";
        assert_eq!(parse_open_files_max(unlimited).unwrap(), u64::MAX);
    }

    #[test]
    fn this_process_can_be_measured() {
        let before = Process::own().cpu().unwrap();
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = sum.wrapping_add(std::hint::black_box(number));
        }
        std::hint::black_box(sum);
        let used = Process::own().cpu().unwrap().since(before);
        assert!(used.total_ns > 0, "{used:?}");
        assert!(Process::own().resident_bytes().unwrap() > 100_000);
        assert!(Process::own().open_files_max().unwrap() >= 64);
        let nobody = Process::with_pid(u32::MAX).cpu().unwrap_err();
        assert!(nobody.to_string().contains("--pid"), "{nobody}");
    }

    #[test]
    fn ticks_speak_for_threads_that_ended() {
        let at = |total_ns, user_ticks| CpuTime { total_ns, user_ticks, system_ticks: 0 };
        for (earlier, later, total_ns) in [
            (at(1_000, 5), at(9_000, 5), 8_000),
            (at(0, 0), at(19_000_000, 3), 19_000_000),
            (at(90_000_000, 9), at(50_000_000, 20), 90_000_000),
            (at(0, 0), at(0, 12), 100_000_000),
        ] {
            assert_eq!(later.since(earlier).total_ns, total_ns, "{earlier:?} {later:?}");
        }
    }

    #[test]
    fn the_user_share_is_of_ticks() {
        let time = CpuTime { total_ns: 5, user_ticks: 1, system_ticks: 3 };
        assert!((time.user_share() - 0.25).abs() < f64::EPSILON);
        assert!(CpuTime::default().user_share().abs() < f64::EPSILON);
    }
}
