//! What finds differences is itself tried: on two embedded servers, of which one is made to give wrong answers.

use roadstead_conformance::{
    families::{FAMILIES, Family},
    generate::sequence,
    normalise::Answer,
    operation::Operation,
    pair::{Pair, SETTLED, Step},
    prepare::Run,
    report,
    shrink::shrink,
    side::Embedded,
};

async fn pair(distort: fn(&Operation, &mut Answer)) -> (Pair, [Embedded; 2]) {
    let servers = [Embedded::open().await.expect("opens"), Embedded::open().await.expect("opens")];
    let pair = Pair {
        real: servers[0].side.clone(),
        embedded: servers[1].side.distorted(distort),
        run: Run::new(),
        patience: SETTLED,
    };
    for side in [&pair.real, &pair.embedded] {
        pair.run.define(side).await.expect("is defined");
    }
    (pair, servers)
}

fn failed(steps: &[Step]) -> Option<String> {
    steps.last().filter(|step| !step.differences.is_empty()).map(report::title)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_the_same_agree() {
    let (pair, _servers) = pair(|_, _| {}).await;
    let all: Vec<&Family> = FAMILIES.iter().collect();
    for number in 0..12 {
        let steps = pair.play(&sequence(3, number, &all, 40).operations, number).await.unwrap();
        assert_eq!(failed(&steps), None, "{}", report::whole(&steps));
        assert!(steps.len() >= 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_is_found_and_made_short() {
    // Only what is there can be deleted: two operations show it.
    let (pair, _servers) = pair(|operation, answer| {
        if operation.method == "DELETE" && operation.path.contains("/configmaps/") && answer.code == 200 {
            answer.body["details"]["kind"] = "wrong".into();
        }
    })
    .await;
    let crud: Vec<&Family> = FAMILIES.iter().filter(|family| family.name == "crud").collect();
    let mut attempt = 0;
    for number in 0.. {
        let operations = sequence(5, number, &crud, 40).operations;
        attempt += 1;
        let steps = pair.play(&operations, attempt).await.unwrap();
        let Some(title) = failed(&steps) else { continue };
        let short = shrink(operations, async |candidate: &[Operation]| {
            attempt += 1;
            failed(&pair.play(candidate, attempt).await.unwrap()).as_ref() == Some(&title)
        })
        .await;
        let methods: Vec<&str> = short.iter().map(|operation| operation.method.as_str()).collect();
        assert_eq!(methods, ["POST", "DELETE"]);
        attempt += 1;
        let text = report::whole(&pair.play(&short, attempt).await.unwrap());
        assert!(text.contains("body.details.kind") && text.contains("\"wrong\""), "{text}");
        return;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_warning_and_a_wrong_code_are_found() {
    let (pair, _servers) = pair(|operation, answer| {
        if operation.path.contains("fieldValidation") {
            answer.warnings.clear();
        }
        if operation.method == "GET" && answer.code == 404 {
            answer.code = 410;
        }
    })
    .await;
    let body = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "more": 1});
    let collection = "/api/v1/namespaces/${ns0}/configmaps";
    let create = Operation::create(collection, body).with("fieldValidation=Warn");
    let title = failed(&pair.play(&[create], 1).await.unwrap());
    assert_eq!(title.as_deref(), Some("POST configmaps: warnings"));
    let title = failed(&pair.play(&[Operation::get(format!("{collection}/b"))], 2).await.unwrap());
    assert_eq!(title.as_deref(), Some("GET configmaps 404 not 410: code"));
}
