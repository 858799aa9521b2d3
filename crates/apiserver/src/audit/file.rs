//! The file behind the audit log: appended to, never rewritten, rotated by size, bounded in number.
//!
//! In: lines. Out: `audit.log` and older `audit.log.1`, `audit.log.2`, ... with mode 0600. A line is whole or, after a crash or a
//! full disk, cut off and followed by a newline, so that the next one can be read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one file.
    pub bytes: u64,
    /// Files, the present one included; at least 1.
    pub files: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 32 << 20, files: 8 }
    }
}

/// The present file.
pub struct LogFile {
    path: PathBuf,
    bounds: Bounds,
    /// `None` after a failure: opened again for the next write.
    file: Option<(File, u64)>,
}

impl LogFile {
    /// Opens `path` to append to it, or makes it.
    pub fn open(path: &Path, bounds: Bounds) -> io::Result<Self> {
        let mut log = Self { path: path.into(), bounds, file: None };
        log.file = Some(log.reopen()?);
        Ok(log)
    }

    fn reopen(&self) -> io::Result<(File, u64)> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let mut length = file.metadata()?.len();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                length += 1;
            }
        }
        Ok((file, length))
    }

    /// Appends whole lines; they outlive this process, and with [`sync`](Self::sync) the machine. After an error some of them may be
    /// there, the last one cut.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let (mut file, mut length) = match self.file.take() {
            Some(open) => open,
            None => self.reopen()?,
        };
        if length > 0 && length + lines.len() as u64 > self.bounds.bytes {
            file.sync_data()?;
            self.rotate()?;
            (file, length) = self.reopen()?;
        }
        file.write_all(lines)?;
        self.file = Some((file, length + lines.len() as u64));
        Ok(())
    }

    /// Makes durable what was appended.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |(file, _)| file.sync_data())
    }

    /// Moves every file one place on, the oldest first, which is written over or, with one file, removed.
    fn rotate(&self) -> io::Result<()> {
        let place = |number: u32| match number {
            0 => self.path.clone(),
            _ => PathBuf::from(format!("{}.{number}", self.path.display())),
        };
        if self.bounds.files <= 1 {
            return fs::remove_file(place(0));
        }
        for number in (0..self.bounds.files - 1).rev() {
            match fs::rename(place(number), place(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn rotates_and_keeps_no_more_than_it_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut log = LogFile::open(&path, Bounds { bytes: 20, files: 3 }).unwrap();
        for number in 0..8 {
            log.append(format!("line {number:03}\n").as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "line 006\nline 007\n");
        assert_eq!(read(&directory.path().join("audit.log.1")), "line 004\nline 005\n");
        assert_eq!(read(&directory.path().join("audit.log.2")), "line 002\nline 003\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_single_file_starts_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut log = LogFile::open(&path, Bounds { bytes: 10, files: 1 }).unwrap();
        log.append(b"one\n").unwrap();
        log.append(b"number two\n").unwrap();
        assert_eq!(read(&path), "number two\n");
    }

    #[test]
    fn goes_on_after_a_crash_in_the_middle_of_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        fs::write(&path, "whole\ncut o").unwrap();
        LogFile::open(&path, Bounds::default()).unwrap().append(b"next\n").unwrap();
        assert_eq!(read(&path), "whole\ncut o\nnext\n");
    }
}
