//! `cargo xtask package`: what an operator installs, made from this checkout.
//!
//! ```text
//! target/package/omnivox                          the static binary: it runs in an empty root folder
//! target/package/omnivox-0.1.0-x86_64-linux.tar.gz    the same with licences, sample settings, service and completions
//! target/package/omnivox_0.1.0_amd64.deb          the Debian package
//! target/package/ca-certificates.crt              with the binary: what packaging/Containerfile is built from
//! ```
//!
//! Invariant: the same commit gives the same files; times and owners in the archives are fixed.

use crate::{Outcome, parts};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The roots of trust that Debian keeps; a container from scratch has none of its own.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Licences and what to read first, in every package.
const DOCUMENTS: &[&str] = &["README.md", "LICENSE-APACHE", "LICENSE-MIT", "CHANGELOG.md", "omnivox.sample.toml"];
/// Shell, and where Debian keeps completions for it.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/omnivox"),
    ("zsh", "usr/share/zsh/vendor-completions/_omnivox"),
    ("fish", "usr/share/fish/vendor_completions.d/omnivox.fish"),
];

/// Makes all packages in `target/package`; `dev` takes the profile of the tests, which is quicker to build and slower to run.
pub(crate) fn run(root: &Path, dev: bool) -> Outcome<()> {
    let machine = Machine::of_this_compiler()?;
    let out = root.join("target/package");
    fs::remove_dir_all(&out).ok();
    folder(&out)?;
    let binary = out.join("omnivox");
    static_binary(root, &machine, dev, &binary)?;
    copy(Path::new(ROOTS), &out.join("ca-certificates.crt"), 0o644)?;
    let packages = Packages { root, out: &out, binary: &binary, machine: &machine, version: version(root)? };
    packages.archive()?;
    packages.debian()?;
    for made in parts::entries(&out)?.iter().filter(|path| path.is_file()) {
        let bytes = fs::metadata(made).map_or(0, |file| file.len());
        println!("{:>11} bytes  {}", bytes, made.strip_prefix(root).unwrap_or(made).display());
    }
    Ok(())
}

/// What this machine is called by the compiler and by Debian.
struct Machine {
    triple: String,
    debian: &'static str,
}

impl Machine {
    fn of_this_compiler() -> Outcome<Self> {
        let said = output(Command::new("rustc").arg("-vV"))?;
        let triple = said.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
        let debian = match triple {
            "x86_64-unknown-linux-gnu" => "amd64",
            "aarch64-unknown-linux-gnu" => "arm64",
            other => return Err(format!("packages are made on x86_64 or aarch64 Linux with glibc, not on {other}")),
        };
        Ok(Self { triple: triple.to_owned(), debian })
    }

    /// `x86_64`, as archives are named.
    fn cpu(&self) -> &str {
        self.triple.split('-').next().unwrap_or_default()
    }
}

/// Builds the server with the C library inside, and without the debug information that only a profiler reads.
fn static_binary(root: &Path, machine: &Machine, dev: bool, binary: &Path) -> Outcome<()> {
    let (profile, folder) = if dev { ("dev", "debug") } else { ("release", "release") };
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--package", "omnivox", "--profile", profile, "--target", &machine.triple]).current_dir(root);
    // With `--target` the flags concern what is shipped and not the macros, which the compiler must load. Without the second one the
    // static binary would look for the system call in a library, not find it, and then need a `/dev`.
    let flags = ["-C", "target-feature=+crt-static", "--cfg", "getrandom_backend=\"linux_getrandom\""];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    ended_well(&mut cargo)?;
    let built = root.join("target").join(&machine.triple).join(folder).join("omnivox");
    ended_well(Command::new("strip").arg("-o").arg(binary).arg(&built))?;
    mode(binary, 0o755)
}

/// The version of the workspace.
fn version(root: &Path) -> Outcome<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    Ok(line.ok_or("Cargo.toml has no version")?.trim_matches('"').to_owned())
}

struct Packages<'a> {
    root: &'a Path,
    out: &'a Path,
    binary: &'a Path,
    machine: &'a Machine,
    version: String,
}

impl Packages<'_> {
    /// The archive for machines that are not Debian's.
    fn archive(&self) -> Outcome<()> {
        let name = format!("omnivox-{}-{}-linux", self.version, self.machine.cpu());
        let staged = self.out.join(&name);
        copy(self.binary, &staged.join("omnivox"), 0o755)?;
        for document in DOCUMENTS {
            copy(&self.root.join(document), &staged.join(document), 0o644)?;
        }
        copy(&self.root.join("packaging/omnivox.service"), &staged.join("omnivox.service"), 0o644)?;
        for (shell, path) in COMPLETIONS {
            let file = Path::new(path).file_name().unwrap_or_default();
            self.completion(shell, &staged.join("completions").join(file))?;
        }
        let mut tar = Command::new("tar");
        tar.args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--file"]);
        ended_well(tar.arg(self.out.join(format!("{name}.tar.gz"))).arg("--directory").arg(self.out).arg(&name))?;
        remove(&staged)
    }

    /// The Debian package.
    fn debian(&self) -> Outcome<()> {
        let staged = self.out.join("debian");
        copy(self.binary, &staged.join("usr/bin/omnivox"), 0o755)?;
        copy(&self.root.join("packaging/omnivox.service"), &staged.join("lib/systemd/system/omnivox.service"), 0o644)?;
        let documents = staged.join("usr/share/doc/omnivox");
        for document in DOCUMENTS {
            copy(&self.root.join(document), &documents.join(document), 0o644)?;
        }
        copy(&self.root.join("packaging/debian/copyright"), &documents.join("copyright"), 0o644)?;
        for (shell, path) in COMPLETIONS {
            self.completion(shell, &staged.join(path))?;
        }
        for script in ["postinst", "prerm", "postrm"] {
            copy(&self.root.join("packaging/debian").join(script), &staged.join("DEBIAN").join(script), 0o755)?;
        }
        write(&staged.join("DEBIAN/control"), &self.control(kibibytes(&staged)?))?;
        let package = self.out.join(format!("omnivox_{}_{}.deb", self.version, self.machine.debian));
        let mut build = Command::new("dpkg-deb");
        build.env("SOURCE_DATE_EPOCH", "0").args(["--root-owner-group", "--build"]).arg(&staged).arg(package);
        output(&mut build)?;
        remove(&staged)
    }

    /// What `dpkg` reads. The binary is static, so the package needs no library.
    fn control(&self, kibibytes: u64) -> String {
        let (version, architecture) = (&self.version, self.machine.debian);
        format!(
            "Package: omnivox\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: omnivox\nSection: net\nPriority: optional\n\
             Installed-Size: {kibibytes}\nDepends: adduser, init-system-helpers\nRecommends: ca-certificates\n\
             Description: real-time server for every client\n \
             WebSocket, event streams, long polling, Socket.IO, Mercure, WebRTC signalling\n \
             with STUN and TURN: one server, and all clients share the same channels.\n"
        )
    }

    fn completion(&self, shell: &str, file: &Path) -> Outcome<()> {
        write(file, &output(Command::new(self.binary).args(["completions", shell]))?)
    }
}

/// How much room the files take, as Debian counts it.
fn kibibytes(path: &Path) -> Outcome<u64> {
    if path.is_dir() {
        return parts::entries(path)?.iter().map(|entry| kibibytes(entry)).sum();
    }
    Ok(fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len().div_ceil(1024))
}

fn ended_well(command: &mut Command) -> Outcome<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("{program} does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} failed: {status}")) }
}

/// What a program prints; what it complains of is the error.
fn output(command: &mut Command) -> Outcome<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ended = command.output().map_err(|error| format!("{program} does not start: {error}"))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    Err(format!("{program} failed: {}", String::from_utf8_lossy(&ended.stderr)))
}

fn copy(from: &Path, to: &Path, bits: u32) -> Outcome<()> {
    folder(to.parent().unwrap_or(to))?;
    fs::copy(from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    mode(to, bits)
}

fn write(file: &Path, text: &str) -> Outcome<()> {
    folder(file.parent().unwrap_or(file))?;
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    mode(file, 0o644)
}

fn folder(path: &Path) -> Outcome<()> {
    let mut missing: Vec<PathBuf> = path.ancestors().take_while(|path| !path.exists()).map(Path::to_path_buf).collect();
    while let Some(next) = missing.pop() {
        fs::create_dir(&next).map_err(|error| format!("{}: {error}", next.display()))?;
        // Whoever makes the package may have a umask that hides from others what `dpkg` must show to all.
        mode(&next, 0o755)?;
    }
    Ok(())
}

fn mode(path: &Path, bits: u32) -> Outcome<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).map_err(|error| format!("{}: {error}", path.display()))
}

fn remove(folder: &Path) -> Outcome<()> {
    fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}
