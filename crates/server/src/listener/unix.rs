//! Sockets that are files, for a proxy on the same machine.
//!
//! The socket is made under a temporary name, gets its mode and owner there, and only then takes its own name: at no time can somebody
//! connect whom the mode keeps out, and what an ended server left behind is replaced in one step. A file that is no socket, or at which
//! somebody answers, is never touched.
//!
//! Invariant: the file is removed at the end only if it is still ours.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::BACKLOG;

/// Files to listen on, and who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSockets {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// Their mode; connecting takes the right to write.
    pub mode: u32,
    /// The user whom they belong to; the server's own when `None`.
    pub owner: Option<Identity>,
    /// Their group; the server's own when `None`.
    pub group: Option<Identity>,
}

impl Default for UnixSockets {
    /// None; whoever they will be for, others stay outside.
    fn default() -> Self {
        Self { paths: Vec::new(), mode: 0o660, owner: None, group: None }
    }
}

/// A user or group: its name, or its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// Takes a name or a number.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its name or number.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its number, from a file like `/etc/passwd` or `/etc/group` when it is a name.
    fn number(&self, file: &str) -> io::Result<u32> {
        if let Ok(number) = self.0.parse() {
            return Ok(number);
        }
        let of_line = |line: &str| {
            let mut fields = line.split(':');
            (fields.next()? == self.0).then(|| fields.nth(1)?.parse().ok())?
        };
        let known = fs::read_to_string(file)?;
        known.lines().find_map(of_line).ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{file} has no {:?}", self.0)))
    }
}

/// A listening Unix socket and the file that names it.
pub(crate) struct SocketFile {
    socket: UnixListener,
    path: PathBuf,
    /// Which file it is; `None` when it is somebody else's to remove.
    own: Option<(u64, u64)>,
}

impl UnixSockets {
    /// Binds one of the files.
    pub(crate) fn bind(&self, path: &Path) -> io::Result<SocketFile> {
        make_room(path)?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let _ = fs::remove_file(&temporary);
        let placed = self.bind_as(&temporary).and_then(|socket| fs::rename(&temporary, path).map(|()| socket));
        let socket = placed.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        let file = fs::symlink_metadata(path)?;
        Ok(SocketFile { socket, path: path.to_owned(), own: Some((file.dev(), file.ino())) })
    }

    fn bind_as(&self, path: &Path) -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode))?;
        if self.owner.is_some() || self.group.is_some() {
            let number = |identity: &Option<Identity>, file| identity.as_ref().map(|identity| identity.number(file)).transpose();
            chown(path, number(&self.owner, "/etc/passwd")?, number(&self.group, "/etc/group")?)?;
        }
        // Before this nobody can connect.
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }
}

/// Sees to it that nothing of value is at the path: an abandoned socket is none.
fn make_room(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket; it stays as it is"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "somebody listens there")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

impl SocketFile {
    pub(crate) fn inherited(socket: UnixListener) -> io::Result<Self> {
        let path = socket.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(Self { socket, path, own: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket once more; the file goes with `self`.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path).ok().map(|file| (file.dev(), file.ino()));
        if self.own.is_some() && self.own == there {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("omnivox-unix-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn bind(path: &Path) -> io::Result<SocketFile> {
        UnixSockets { mode: 0o600, ..UnixSockets::default() }.bind(path)
    }

    #[test]
    fn the_file_has_the_mode_that_was_asked_for_and_goes_with_its_socket() {
        let path = place("mode");
        let made = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn what_an_ended_server_left_is_replaced_and_what_lives_is_not() {
        let path = place("stale");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "an ended server leaves its file");
        let first = bind(&path).unwrap();
        assert_eq!(bind(&path).err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));
        UnixStream::connect(&path).expect("the first one is untouched");
        // Somebody else takes the place: it is no longer ours to remove.
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(other);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_touched() {
        let path = place("file");
        fs::write(&path, "dear to somebody").unwrap();
        assert_eq!(bind(&path).err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
        assert_eq!(fs::read_to_string(&path).unwrap(), "dear to somebody");
        fs::remove_file(&path).unwrap();
        assert!(bind(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn users_and_groups_are_names_or_numbers() {
        assert_eq!(Identity::new("root").number("/etc/passwd").unwrap(), 0);
        assert_eq!(Identity::new("4711").number("/etc/group").unwrap(), 4711);
        let unknown = Identity::new("nobody-at-all").number("/etc/group").unwrap_err();
        assert!(unknown.to_string().contains("/etc/group has no \"nobody-at-all\""), "{unknown}");
    }
}
