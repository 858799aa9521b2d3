//! Protobuf bodies against Kubernetes' own encoder: `data/protobuf.jsonl` has random objects of the built-in kinds in both forms.

use base64::Engine;
use roadstead_kubewire::protobuf::to_json;
use serde_json::Value;

/// Absent and null are the same to a server.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(without_nulls);
        }
        Value::Array(array) => array.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[test]
fn objects_are_read_as_kubernetes_writes_them() {
    let samples: Vec<Value> =
        include_str!("../data/protobuf.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(samples.len() > 40);
    for mut sample in samples {
        let body = base64::engine::general_purpose::STANDARD.decode(sample["protobuf"].as_str().unwrap()).unwrap();
        let mut read: Value = serde_json::from_slice(&to_json(&body).unwrap()).unwrap();
        let mut wanted = sample["json"].take();
        without_nulls(&mut read);
        without_nulls(&mut wanted);
        assert_eq!(read, wanted);
    }
}
