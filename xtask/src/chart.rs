//! `cargo xtask chart`: writes what in the Helm chart is made of something else.
//!
//! In: the kinds of `crates/api`, and `values.yaml` with its comments. Out: `files/crds/*.yaml`, and the table of values in the
//! chart's README. Tests compare both, so that neither can go stale.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::step::{cargo, root, run, step};

/// The table in the README is between these lines.
const BEGIN: &str = "<!-- values: made by `cargo xtask chart` -->\n";
const END: &str = "<!-- end of values -->\n";

/// The chart's directory.
fn directory() -> PathBuf {
    root().join("deploy/helm/roadstead")
}

/// Writes both.
pub fn chart() -> Result<()> {
    step("definitions of kinds", || {
        run(cargo().args(["test", "--quiet", "-p", "roadstead-api", "--test", "crds"]).env("ROADSTEAD_WRITE_CRDS", "1"))
    })?;
    step("table of values", || {
        let readme = directory().join("README.md");
        let current = fs::read_to_string(&readme).with_context(|| readme.display().to_string())?;
        let values = fs::read_to_string(directory().join("values.yaml"))?;
        Ok(fs::write(readme, with_table(&current, &table(&values)?)?)?)
    })
}

/// The README with another table.
fn with_table(readme: &str, table: &str) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("the README has no place for the table of values")?;
    let (_, after) = rest.split_once(END).context("the README's table of values has no end")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// A row for each value: its path, its default, and the comment above it. Errors: a value has no comment.
///
/// Reads the part of YAML that `values.yaml` is written in: mappings by indentation, `#` comments above their key, short values in
/// flow style on the key's line, longer ones below it.
fn table(values: &str) -> Result<String> {
    let mut rows = String::from("| value | default | what it is |\n|---|---|---|\n");
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let lines: Vec<&str> = values.lines().collect();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let Some((key, value)) = text.split_once(':') else {
            // An empty line parts the file's own heading from what follows.
            comment.clear();
            continue;
        };
        path.retain(|(depth, _)| *depth < indent);
        path.push((indent, key));
        let below: Vec<&str> = lines[at..].iter().copied().take_while(|next| is_below(next, indent)).collect();
        let documented = !comment.is_empty();
        if !documented {
            if below.is_empty() {
                bail!("values.yaml: `{key}` has no comment");
            }
            // A group: its members are documented.
            continue;
        }
        at += below.len();
        let name = path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
        let default = match value.trim() {
            "" => below.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "),
            value => value.to_string(),
        };
        rows += &format!("| `{name}` | `{default}` | {} |\n", comment.join(" ").replace('|', "\\|"));
        comment.clear();
    }
    Ok(rows)
}

/// Whether a line belongs to the value of a key at `indent`.
fn is_below(line: &str, indent: usize) -> bool {
    line.len() - line.trim_start().len() > indent && !line.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_table() {
        let readme = fs::read_to_string(directory().join("README.md")).unwrap();
        let values = fs::read_to_string(directory().join("values.yaml")).unwrap();
        let current = with_table(&readme, &table(&values).unwrap()).unwrap();
        assert!(readme == current, "the chart's README is stale: run `cargo xtask chart`");
    }

    #[test]
    fn a_row_has_path_default_and_comment() {
        let values = "# About the file.\n\n# One.\na: \"\"\nb:\n  # Two,\n  # or more.\n  c: [1, 2]\n  # Three.\n  d:\n    x: {y: 1}\n    z: 2\n# Four.\ne: {}\n";
        let rows = table(values).unwrap();
        let expected = "| `a` | `\"\"` | One. |\n| `b.c` | `[1, 2]` | Two, or more. |\n| `b.d` | `x: {y: 1} z: 2` | Three. |\n| `e` | `{}` | Four. |\n";
        assert_eq!(rows.split_once("|---|---|---|\n").unwrap().1, expected);
        assert!(table("a:\n  b: 1\n").unwrap_err().to_string().contains("`b`"));
    }
}
