//! The command line as a process, without a control plane: what goes where, and how it ends.

use std::path::Path;
use std::process::{Command, Output};

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: nowhere, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: me, user: {token: a-secret-token}}]
contexts: [{name: here, context: {cluster: nowhere, user: me, namespace: team-a}}, {name: there, context: {cluster: nowhere, user: me}}]
current-context: here
";

fn roadstead(kubeconfig: Option<&Path>, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
    command
        .args(words.split_whitespace())
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent")
        .env_remove("XDG_DATA_HOME");
    if let Some(file) = kubeconfig {
        command.env("KUBECONFIG", file);
    }
    command.output().expect("roadstead starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A kubeconfig file of this test; the directory is the test process' own.
fn kubeconfig(name: &str) -> std::path::PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, KUBECONFIG).expect("the file is written");
    file
}

#[test]
fn failures_are_one_line_on_stderr_with_their_exit_code() {
    let file = kubeconfig("failures");
    for (with, words, code, said) in [
        (false, "hook list", 6, "roadstead up"),
        (true, "hook list", 6, "cannot reach the control plane"),
        (true, "hook list --context nope", 6, "nope"),
        (true, "subscriber list --kubeconfig /nonexistent/file", 6, "/nonexistent/file"),
        (true, "hook create shop --provider dockerhub", 1, "--url-only"),
        (true, "hook create shop --provider dockerhub --url-only", 6, "cannot reach"),
        (true, "trigger create t --endpoint shop", 1, "--forward"),
        (true, "notify list", 6, "cannot reach"),
        (true, "notify create c --endpoint r --url https://x -o name", 1, "--secret-file"),
        (true, "notify rotate c -o json", 1, "--secret-file"),
        (true, "notify redeliver c other-00000000000000000001", 3, "no delivery"),
        (true, "subscriber add edge", 1, "--endpoint"),
        (true, "subscriber add edge --endpoint shop -o name", 1, "token"),
    ] {
        // What can be found wrong without a control plane is found before one is asked.
        let output = roadstead(with.then_some(file.as_path()), words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {stderr}");
        assert!(output.stdout.is_empty(), "{words}");
        assert!(
            stderr.starts_with("error: ") && stderr.lines().count() == 1 && stderr.contains(said),
            "{words}: {stderr}"
        );
        assert!(!stderr.contains("a-secret-token"), "{words}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for words in
        ["", "sail", "hook", "hook create", "hook create shop --provider githubb", "hook list -o xml", "trigger replay"]
    {
        assert_eq!(roadstead(None, words).status.code(), Some(2), "{words}");
    }
}

#[test]
fn config_tells_what_is_used_and_keeps_the_token() {
    let output = roadstead(Some(&kubeconfig("config")), "config -o json");
    let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(config["context"], "here");
    assert_eq!(config["namespace"], "team-a");
    assert_eq!(config["server"], "https://127.0.0.1:1");
    assert_eq!(config["source"], "KUBECONFIG");
    assert!(!text(&output.stdout).contains("a-secret-token"));
    let other = roadstead(Some(&kubeconfig("config")), "config --context there");
    assert!(text(&other.stdout).contains("namespace:   default"), "{}", text(&other.stdout));
}

#[test]
fn where_to_work_may_be_said_before_the_verb() {
    let file = kubeconfig("early");
    let shown = file.display();
    for (words, namespace) in [
        ("-n team-b config -o json".to_string(), "team-b"),
        (format!("--kubeconfig {shown} --context there config -o json"), "default"),
        ("-n team-b config -n team-c -o json".into(), "team-c"),
    ] {
        let output = roadstead(Some(&file), &words);
        let config: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&words);
        assert_eq!(config["namespace"], namespace, "{words}");
    }
    for words in ["-n team-b completion bash", "--context there demo", "--kubeconfig /nonexistent/file up"] {
        let output = roadstead(None, words);
        assert_eq!(output.status.code(), Some(2), "{words}: {}", text(&output.stderr));
    }
}

#[test]
fn answers_are_on_stdout() {
    assert!(text(&roadstead(None, "version").stdout).starts_with("roadstead "));
    let script = text(&roadstead(None, "completion bash").stdout);
    assert!(script.contains("dead-letters") && script.contains("--url-only"));
    assert!(text(&roadstead(None, "--help").stdout).contains("Exit codes:"));
}

#[test]
fn a_broken_kubeconfig_is_told_without_its_content() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken");
    let shown = file.display();
    let hub = "hub --public-url https://hub.example.com --trusted-proxy 127.0.0.1/32 --hub-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir /nonexistent/data";
    for (content, said) in [
        (KUBECONFIG.replace("{name: me, user:", "{name: me, user: ["), "is not a kubeconfig: line 5"),
        (KUBECONFIG.replace("{token: a-secret-token}", "a-secret-token"), "is not a kubeconfig: line 5"),
        ("a-secret-token".into(), "is not a kubeconfig: line 1"),
        ("users: \"a-secret-token".into(), "is not a kubeconfig"),
    ] {
        std::fs::write(&file, &content).expect("the file is written");
        for words in [
            "config".to_string(),
            "hook list".into(),
            format!("hook list --kubeconfig {shown}"),
            format!("{hub} --kubeconfig {shown}"),
            hub.into(),
        ] {
            let output = roadstead(Some(&file), &words);
            let stderr = text(&output.stderr);
            assert!(!output.status.success(), "{words}: {content}");
            assert!(stderr.contains(said) && stderr.contains(&shown.to_string()), "{words}: {stderr}");
            assert!(!stderr.contains("a-secret-token") && stderr.lines().count() == 1, "{words}: {stderr}");
        }
    }
}
