//! Transcripts: what kubectl says to given commands, word for word, so that two control planes can be held against each other.
//!
//! In: a text file of commands and what was said to them, and a ground (kubeconfig and namespace). Out: the same text with what is
//! said there. A file reads like a shell session:
//!
//! ```text
//! # Words for the reader.
//!
//! $ kubectl apply -f - <<END      a command for sh; $NS is the namespace
//! > kind: ConfigMap               its further lines
//! | configmap/a created           stdout
//! ! Warning: ...                  stderr
//! = 1                             exit code, where it is not 0
//! ```
//!
//! What differs from run to run (uids, times, ages, versions, addresses, tokens, the namespace's name) is replaced by fixed
//! words of the same width, so that columns stay where they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use tempfile::TempDir;

use crate::{cluster::make_namespace, kubectl::Kubectl, tools};

/// Seconds that one command may take.
const PATIENCE: &str = "60";
/// What every namespace is called in a transcript. Real names have the same length.
const NAMESPACE: &str = "verbs-nnnnnn";

/// A transcript: comments and steps, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    parts: Vec<Part>,
}

/// A piece of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A comment or an empty line, as it stands.
    Words(String),
    /// A command and what was said to it.
    Step(Step),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    command: Vec<String>,
    out: Vec<String>,
    err: Vec<String>,
    code: i32,
}

impl Transcript {
    /// Reads one. Errors: a line that is none of those above.
    pub fn parse(text: &str) -> Result<Transcript> {
        let mut parts = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                parts.push(Part::Words(line.into()));
                continue;
            }
            let (mark, rest) = line.split_at(1);
            let rest = rest.strip_prefix(' ').unwrap_or(rest).to_string();
            if mark == "$" {
                parts.push(Part::Step(Step { command: vec![rest], ..Step::default() }));
                continue;
            }
            let Some(Part::Step(step)) = parts.last_mut() else { bail!("line {}: no command before it", index + 1) };
            match mark {
                ">" => step.command.push(rest),
                "|" => step.out.push(rest),
                "!" => step.err.push(rest),
                "=" => step.code = rest.parse().with_context(|| format!("line {}", index + 1))?,
                _ => bail!("line {}: it begins with none of # $ > | ! =", index + 1),
            }
        }
        Ok(Transcript { parts })
    }

    /// Runs its commands; gives what was said.
    pub fn run(&self, stage: &Stage) -> Result<Transcript> {
        let mut parts = Vec::new();
        for part in &self.parts {
            parts.push(match part {
                Part::Words(words) => Part::Words(words.clone()),
                Part::Step(step) => Part::Step(stage.run(&step.command)?),
            });
        }
        Ok(Transcript { parts })
    }

    /// The steps in which `other`, of the same commands, differs, each as both have it. Empty: none.
    pub fn differences(&self, other: &Transcript) -> String {
        let mut told = String::new();
        for (wanted, found) in self.parts.iter().zip(&other.parts) {
            if wanted != found {
                let _ = writeln!(told, "recorded:\n{}here:\n{}", show(wanted), show(found));
            }
        }
        told
    }
}

impl std::fmt::Display for Transcript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.iter().try_for_each(|part| f.write_str(&show(part)))
    }
}

fn show(part: &Part) -> String {
    let step = match part {
        Part::Words(words) => return format!("{words}\n"),
        Part::Step(step) => step,
    };
    let mut text = String::new();
    let mut put = |mark: &str, line: &str| {
        text.push_str(format!("{mark} {line}").trim_end());
        text.push('\n');
    };
    for (index, line) in step.command.iter().enumerate() {
        put(if index == 0 { "$" } else { ">" }, line);
    }
    step.out.iter().for_each(|line| put("|", line));
    step.err.iter().for_each(|line| put("!", line));
    if step.code != 0 {
        put("=", &step.code.to_string());
    }
    text
}

/// Where a transcript is played: one namespace of a cluster, and a directory for files.
pub struct Stage {
    namespace: String,
    server: String,
    scratch: TempDir,
    path: String,
    prelude: PathBuf,
}

impl Stage {
    /// Makes a namespace for it in the cluster of `kubeconfig`. `prelude` is read by each command's shell.
    pub fn open(kubeconfig: &Path, prelude: &Path) -> Result<Stage> {
        let scratch = tempfile::Builder::new().prefix("transcript").tempdir()?;
        std::fs::copy(kubeconfig, scratch.path().join("kubeconfig"))?;
        let bin = scratch.path().join("bin");
        std::fs::create_dir(&bin)?;
        std::os::unix::fs::symlink(absolute(&tools::kubectl())?, bin.join("kubectl"))?;
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        // The directory's name ends in six random letters and digits.
        let unique = scratch.path().display().to_string().to_lowercase();
        let namespace = format!("verbs-{}", unique.get(unique.len() - 6..).context("a short path")?);
        let mut stage = Stage { namespace, server: String::new(), scratch, path, prelude: prelude.into() };
        stage.server = stage.must("kubectl config view --minify -o jsonpath={.clusters[0].cluster.server}")?;
        make_namespace(&Kubectl::new(kubeconfig)?, &stage.namespace)?;
        stage.must("kubectl config set-context --current --namespace=$NS")?;
        stage.must("eventually kubectl get serviceaccount default")?;
        stage.must("eventually kubectl get configmap kube-root-ca.crt")?;
        Ok(stage)
    }

    fn shell(&self, command: &str) -> Command {
        let script = format!(". {}\n{command}\n", self.prelude.display());
        let mut shell = Command::new("timeout");
        shell
            .args([PATIENCE, "sh", "-c", &script])
            .current_dir(self.scratch.path())
            .env("PATH", &self.path)
            .env("NS", &self.namespace)
            .env("TMPDIR", self.scratch.path())
            .env("HOME", self.scratch.path())
            .env("KUBECACHEDIR", self.scratch.path().join("cache"))
            .env("KUBECONFIG", self.scratch.path().join("kubeconfig"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        shell
    }

    fn must(&self, command: &str) -> Result<String> {
        let output = self.shell(command).output()?;
        ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn run(&self, command: &[String]) -> Result<Step> {
        let output = self.shell(&command.join("\n")).output()?;
        let said = |bytes: Vec<u8>| -> Result<Vec<String>> {
            Ok(self.level(&String::from_utf8(bytes)?)?.lines().map(|line| line.trim_end().to_string()).collect())
        };
        Ok(Step {
            command: command.to_vec(),
            out: said(output.stdout)?,
            err: said(output.stderr)?,
            code: output.status.code().unwrap_or(-1),
        })
    }

    /// `text` without what differs from run to run.
    fn level(&self, text: &str) -> Result<String> {
        let text = text
            .replace(&self.namespace, NAMESPACE)
            .replace(&self.scratch.path().display().to_string(), "TMP")
            .replace(&self.server, "https://server");
        level(&text)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A cluster that outlives the test should not keep it; one that does not, need not be waited for.
        let _ = self.must("kubectl delete namespace $NS --wait=false");
    }
}

/// Replaces what differs from run to run by words of the same width where columns depend on it.
fn level(text: &str) -> Result<String> {
    let mut text = text.to_string();
    for (found, instead) in [
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "00000000-0000-0000-0000-000000000000"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-01-01T00:00:00Z"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "2026-01-01T00:00:00.000000Z"),
        (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "Thu, 01 Jan 2026 00:00:00 +0000"),
        (r#"(resourceVersion"?): ?"\d+""#, r#"$1: "1""#),
        (r"(Resource Version):( +)\d+", "$1:${2}1"),
        // The label by which namespaces of tests are known.
        (r"(?m)^ +roadstead\.dev/e2e[:=].*\n", ""),
        (r"\beyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN"),
        // kubectl diff: names of directories, times of files.
        (r"(LIVE|MERGED)-\d+", "$1"),
        (r"(?m)^((?:---|\+\+\+) \S+)\t.*$", "$1"),
        (r"kubectl-edit-\d+", "kubectl-edit"),
        (r" over \w+\)", " over AGE)"),
        // A client that ends its own watch says so only when the machine is slow.
        (r"(?m)^W\d{4} .*informerwatcher\.go.*\n", ""),
        // klog: time, process, line of kubectl's source.
        (r"(?m)^([EWI])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\] ", "$1 "),
    ] {
        text = Regex::new(found)?.replace_all(&text, instead).into_owned();
    }
    // Ages, which may be one or two digits wide, with the blanks after them.
    let age = Regex::new(r"(?m)(^|  )(\d+[smhd])( +|$)")?;
    let mut previous = String::new();
    while previous != text {
        previous.clone_from(&text);
        text = age
            .replace_all(&previous, |found: &regex::Captures<'_>| {
                let blanks = if found[3].is_empty() { 0 } else { (found[2].len() + found[3].len()).saturating_sub(3) };
                format!("{}AGE{}", &found[1], " ".repeat(blanks))
            })
            .into_owned();
    }
    Ok(text)
}

fn absolute(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        return Ok(std::path::absolute(program)?);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    found.with_context(|| format!("{} is not in PATH", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_written_as_it_was_read() {
        let text = "# Words.\n\n$ kubectl get cm <<END\n> kind: X\n>\n> END\n| out\n|\n|   more\n! err\n= 1\n";
        let read = Transcript::parse(text).unwrap();
        assert_eq!(read.to_string(), text);
        assert_eq!(read.differences(&read), "");
        let other = Transcript::parse(&text.replace("out", "else")).unwrap();
        assert!(read.differences(&other).contains("| else"));
        assert!(Transcript::parse("| nobody asked").is_err());
        assert!(Transcript::parse("$ x\n? 1").is_err());
    }

    #[test]
    fn what_differs_from_run_to_run_is_levelled() {
        for (said, wanted) in [
            ("a   1      7s\nb   1      12s\n", "a   1      AGE\nb   1      AGE\n"),
            ("NAME   AGE   X\na      7s    y\nb      12s   z\n", "NAME   AGE   X\na      AGE   y\nb      AGE   z\n"),
            ("7s          Normal\n", "AGE         Normal\n"),
            ("timeout: 30s", "timeout: 30s"),
            ("  uid: 0ab94aa6-2b6d-4ea7-8c96-4c8fb7e6d5f2", "  uid: 00000000-0000-0000-0000-000000000000"),
            ("resourceVersion: \"123\"", "resourceVersion: \"1\""),
            ("{\"resourceVersion\":\"123\"}", "{\"resourceVersion\": \"1\"}"),
            ("at 2026-11-20T14:15:38Z", "at 2026-01-01T00:00:00Z"),
            ("W1120 14:15:38.1   17 informerwatcher.go:1] very short\nx", "x"),
            ("E1120 14:15:38.123456   17 memcache.go:1] no", "E no"),
            ("--- TMP/LIVE-37/v1.x\t2026-11-20 14:15:38.0 +0000", "--- TMP/LIVE/v1.x"),
        ] {
            assert_eq!(level(said).unwrap(), wanted);
        }
    }
}
