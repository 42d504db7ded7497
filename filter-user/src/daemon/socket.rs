//! The daemon's socket: taking it without taking it away from anybody, and leaving no trace of it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connections that may wait to be taken, as the standard library has it on Linux.
const BACKLOG: i32 = -1;

/// A socket that this process listens on; its file goes when this goes.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that a file that somebody else has put there since is left alone.
    identity: (u64, u64),
}

/// Another process listens there.
#[derive(Debug, thiserror::Error)]
#[error("{} is in use by process {pid}; stop it first, or use another --socket", .path.display())]
pub struct InUse {
    path: PathBuf,
    pid: String,
}

impl Bound {
    /// Listens on `path`, open to the owner and the group. Makes its directory where there is none, and replaces a
    /// socket that nobody listens on.
    ///
    /// # Errors
    /// When another process listens there (named by its number), or when something else than a socket is there.
    pub fn bind(path: &Path) -> Result<Self> {
        vacate(path)?;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)
                .with_context(|| format!("cannot make the socket's directory {}", dir.display()))?;
        }
        let listener = listen(path).with_context(|| format!("cannot listen on {}", path.display()))?;
        let metadata =
            fs::symlink_metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let bound = Self { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
        fs::set_permissions(path, Permissions::from_mode(0o660))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        Ok(bound)
    }

    /// The listener, for a runtime.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.set_nonblocking(true)?;
        self.listener.try_clone()
    }
}

/// What became of the socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is where it was made.
    Kept,
    /// Nothing is there any more, so nobody finds this process.
    Empty,
    /// Something else is there, or it cannot be seen.
    Taken,
}

impl Bound {
    /// Looks where it was made.
    pub fn place(&self) -> Place {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.identity => Place::Kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Place::Empty,
            _ => Place::Taken,
        }
    }

    /// Listens there anew.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn renew(&mut self) -> Result<io::Result<UnixListener>> {
        // This one's file is held until then, so the new one cannot be taken for it.
        *self = Self::bind(&self.path)?;
        Ok(self.listener())
    }
}

/// A listener whose file is never open to others, not even until its mode is set: Linux makes the file with the mode
/// that the socket has.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::fs::fchmod(&socket, Mode::from_bits_truncate(0o660))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl Drop for Bound {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(socket = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Makes sure that nothing is at `path`, or a socket that nobody listens on, which is removed.
fn vacate(path: &Path) -> Result<()> {
    let shown = path.display();
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    if !metadata.file_type().is_socket() {
        bail!(
            "{shown} is there and is not a socket; expected nothing, or a socket: --socket names another path"
        );
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let pid = rustix::net::sockopt::socket_peercred(&stream)
                .map_or_else(|_| "unknown".to_owned(), |peer| peer.pid.to_string());
            Err(InUse { path: path.to_owned(), pid }.into())
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot remove the stale socket {shown}"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot tell whether {shown} is in use")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_in_use_is_refused_with_the_process_that_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/levee.sock");
        let bound = Bound::bind(&path).unwrap();
        let error = Bound::bind(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("levee.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Bound::bind(&path).unwrap();
    }

    #[test]
    fn a_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("levee.sock");
        fs::write(&path, "precious").unwrap();
        assert!(Bound::bind(&path).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_whose_file_was_removed_can_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/levee.sock");
        let mut bound = Bound::bind(&path).unwrap();
        assert_eq!(bound.place(), Place::Kept);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(bound.place(), Place::Empty);
        let listener = bound.renew().unwrap().unwrap();
        assert_eq!(bound.place(), Place::Kept);
        let stream = UnixStream::connect(&path).unwrap();
        listener.set_nonblocking(false).unwrap();
        listener.accept().unwrap();
        drop((stream, listener));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert_eq!(bound.place(), Place::Taken);
        drop(bound);
        assert!(path.exists());
    }

    #[test]
    fn a_socket_that_another_process_has_put_there_since_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("levee.sock");
        let bound = Bound::bind(&path).unwrap();
        fs::rename(&path, dir.path().join("old.sock")).unwrap();
        fs::write(&path, "theirs").unwrap();
        drop(bound);
        assert!(path.exists());
    }
}
