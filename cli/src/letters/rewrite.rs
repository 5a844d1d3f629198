//! A file that is there whole or not at all: written beside its place, and moved there at the end.

use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

/// A file in the making. Dropped before its end it leaves what was there before.
#[derive(Debug)]
pub(crate) struct Rewrite {
    path: PathBuf,
    /// Where it is written meanwhile; `None` if the place is a pipe or a device, which is written as it is.
    beside: Option<PathBuf>,
    out: Option<BufWriter<File>>,
}

impl Rewrite {
    /// Makes the file beside its place, so that what cannot be written is known before there is something
    /// to write.
    ///
    /// # Errors
    /// There is no such folder, it may not be written to, or the place is a directory.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        let context = || format!("{}: cannot be written", path.display());
        let Ok(old) = fs::metadata(path) else {
            return Self::beside(path.to_owned(), None).with_context(context);
        };
        anyhow::ensure!(
            !old.is_dir(),
            "{}: is a directory; name a file",
            path.display()
        );
        if !old.is_file() {
            let file = File::options().write(true).open(path);
            return Ok(Self {
                path: path.to_owned(),
                beside: None,
                out: Some(BufWriter::new(file.with_context(context)?)),
            });
        }
        // Where a link leads there is the file; the link stays.
        let path = fs::canonicalize(path).with_context(context)?;
        anyhow::ensure!(
            !old.permissions().readonly(),
            "{}: cannot be written: it is read-only",
            path.display()
        );
        Self::beside(path, Some(old.permissions())).with_context(context)
    }

    fn beside(path: PathBuf, permissions: Option<fs::Permissions>) -> Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().context("it has no name")?);
        name.push(format!(".{}.tmp", process::id()));
        let beside = path.with_file_name(name);
        let file = File::create(&beside)?;
        let rewrite = Self {
            path,
            beside: Some(beside),
            out: Some(BufWriter::new(file)),
        };
        if let (Some(permissions), Some(beside)) = (permissions, &rewrite.beside) {
            fs::set_permissions(beside, permissions)?;
        }
        Ok(rewrite)
    }

    /// Where the content goes.
    pub(crate) fn out(&mut self) -> &mut impl Write {
        self.out.as_mut().expect("it is taken by the end alone")
    }

    /// Puts the file where it belongs, in one step.
    ///
    /// # Errors
    /// What was there is there still.
    pub(crate) fn finish(mut self) -> Result<()> {
        let context = || format!("{}: cannot be written", self.path.display());
        let out = self.out.take().expect("it is taken by the end alone");
        let file = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .with_context(context)?;
        let Some(beside) = self.beside.clone() else {
            return Ok(());
        };
        // On the disk before its name is: after a crash there is the old file or the new one.
        file.sync_all().with_context(context)?;
        drop(file);
        fs::rename(beside, &self.path).with_context(context)?;
        self.beside = None;
        Ok(())
    }
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // Nobody is there to be told; the worst is a file that is left.
            let _ = fs::remove_file(beside);
        }
    }
}
