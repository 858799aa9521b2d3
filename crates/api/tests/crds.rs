//! The definitions that the Helm chart ships are those of this crate. `cargo xtask chart` writes them anew.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// Set to write the files instead of comparing them.
const WRITE: &str = "ROADSTEAD_WRITE_CRDS";

#[test]
fn the_chart_ships_these_definitions() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/roadstead/files/crds");
    let crds = roadstead_api::crds();
    if std::env::var_os(WRITE).is_some() {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
    }
    for crd in &crds {
        let file = directory.join(file_name(crd));
        let text = serde_saphyr::to_string(crd).unwrap();
        if std::env::var_os(WRITE).is_some() {
            fs::write(&file, &text).unwrap();
        }
        let shipped = fs::read_to_string(&file).unwrap_or_default();
        assert!(shipped == text, "{} is stale: run `cargo xtask chart`", file.display());
        let read: CustomResourceDefinition = serde_saphyr::from_str(&shipped).unwrap();
        assert_eq!(read, *crd, "YAML of {} must mean the same", file.display());
    }
    let mut shipped: Vec<String> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    shipped.sort();
    let mut expected: Vec<String> = crds.iter().map(file_name).collect();
    expected.sort();
    assert_eq!(shipped, expected, "files without a kind: run `cargo xtask chart`");
}

fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.yaml", crd.spec.names.plural)
}
