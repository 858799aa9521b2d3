//! Whether a program runs where there is nothing else: an ELF executable that asks for no interpreter.
//!
//! Format: System V ABI, "Program Header": a program that needs a dynamic linker has a header of type `PT_INTERP`.

use anyhow::{Result, bail};

const PT_INTERP: u32 = 3;

/// Errors: it is no 64-bit little-endian x86-64 ELF executable, or it needs a dynamic linker.
pub fn check(program: &[u8]) -> Result<()> {
    let Some(kinds) = segments(program) else {
        bail!("not an executable for linux/amd64");
    };
    if kinds.contains(&PT_INTERP) {
        bail!("it needs a dynamic linker, which the image has not: build it with -C target-feature=+crt-static");
    }
    Ok(())
}

/// The types of the program headers.
fn segments(program: &[u8]) -> Option<Vec<u32>> {
    let number = |at: usize, bytes: usize| {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(program.get(at..at.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(value)).ok()
    };
    // 64-bit, little-endian; machine 62 is x86-64.
    if program.get(..6)? != b"\x7fELF\x02\x01" || number(18, 2)? != 62 {
        return None;
    }
    let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    (0..count).map(|at| u32::try_from(number(first.checked_add(at * size)?, 4)?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_programs_and_other_files_are_refused() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(check(&this).unwrap_err().to_string().contains("dynamic linker"), "tests are linked dynamically");
        for other in [&b""[..], b"#!/bin/sh\n", &this[..70], b"\x7fELF\x02\x01"] {
            assert!(check(other).unwrap_err().to_string().contains("not an executable"), "{} bytes", other.len());
        }
    }

    #[test]
    fn a_static_program_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (source, program) = (directory.path().join("a.c"), directory.path().join("a"));
        std::fs::write(&source, "int main(void) { return 0; }").unwrap();
        let mut compiler = std::process::Command::new("cc");
        compiler.args(["-static", "-o"]).arg(&program).arg(&source);
        crate::step::output(&mut compiler).unwrap();
        check(&std::fs::read(program).unwrap()).unwrap();
    }
}
