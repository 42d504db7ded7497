//! Gives back to the user behind `sudo` what root has written into the checkout and into cargo's cache.
//!
//! Without this the user's next plain `cargo build` would fail on files of root. Does nothing unless `SUDO_UID` is set
//! and the checkout belongs to that user. Never fails: what cannot be given back stays as it is.

use std::env;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use crate::workspace::Workspace;

/// Gives the target directory and cargo's cache back to the user who called sudo.
pub fn give_back(workspace: &Workspace) {
    let Some((user, group)) = user_behind_sudo() else { return };
    if fs::metadata(&workspace.root).map(|metadata| metadata.uid()).ok() != Some(user) {
        return;
    }
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let lists = env::var_os("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), PathBuf::from);
    for top in [&workspace.target, &cache, &lists] {
        // A cache of root's own stays root's.
        let owner = fs::metadata(top.parent().unwrap_or(top)).map(|metadata| metadata.uid());
        if owner.is_ok_and(|owner| owner == user) {
            give_tree(top, user, group);
        }
    }
}

fn user_behind_sudo() -> Option<(u32, u32)> {
    let id = |name| env::var(name).ok()?.parse::<u32>().ok();
    id("SUDO_UID").zip(id("SUDO_GID")).filter(|(user, _)| *user != 0)
}

fn give_tree(path: &Path, user: u32, group: u32) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    give(path, &metadata, user, group);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            give_tree(&entry.path(), user, group);
        }
    }
}

fn give(path: &Path, metadata: &Metadata, user: u32, group: u32) {
    // Hard links may reach files outside the tree; the ones that cargo makes belong to root alone like the rest.
    if metadata.uid() == 0 && lchown(path, Some(user), Some(group)).is_err() {
        eprintln!("note: {} still belongs to root", path.display());
    }
}
