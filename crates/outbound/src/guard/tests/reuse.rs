//! Connections and TLS sessions are used again, and certificates are what they should be.

use super::support::*;
use crate::guard::Error;

#[tokio::test]
async fn idle_connections_are_used_again() {
    let identity = Identity::new(false);
    let (url, counts) = tls(&identity, &["http/1.1"], false).await;
    let client = client_with(Names::new(&[&["127.0.0.1"]]), Some(&identity.ca));
    for _ in 0..5 {
        assert_eq!(get(&client, &url, LIMITS).await.unwrap().body, "hello");
    }
    assert_eq!(counts.all(), [1, 0, 5, 0]);
}

#[tokio::test]
async fn tls_sessions_are_resumed() {
    let identity = Identity::new(false);
    let (url, counts) = tls(&identity, &[], true).await;
    let client = client_with(Names::new(&[&["127.0.0.1"]]), Some(&identity.ca));
    for _ in 0..4 {
        assert_eq!(get(&client, &url, LIMITS).await.unwrap().body, "hello");
    }
    assert_eq!(counts.all(), [4, 3, 4, 0]);
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    let identity = Identity::new(false);
    let (url, counts) = tls(&identity, &["h2", "http/1.1"], false).await;
    let client = client_with(Names::new(&[&["127.0.0.1"]]), Some(&identity.ca));
    for _ in 0..3 {
        assert_eq!(get(&client, &url, LIMITS).await.unwrap().body, "hello");
    }
    assert_eq!(counts.all(), [1, 0, 3, 3]);
}

#[tokio::test]
async fn certificates_are_checked() {
    let (good, expired) = (Identity::new(false), Identity::new(true));
    let names = || Names::new(&[&["127.0.0.1"]]);
    let (url, counts) = tls(&expired, &[], false).await;
    let error = get(&client_with(names(), Some(&expired.ca)), &url, LIMITS).await.unwrap_err();
    assert!(matches!(&error, Error::Tls(why) if why.contains("xpired")), "{error}");
    // Of an authority that is not trusted, and for another name.
    let (url, _) = tls(&good, &[], false).await;
    for (url, ca) in [(url.clone(), &expired.ca), (url.replace("localhost", "other.example"), &good.ca)] {
        let error = get(&client_with(names(), Some(ca)), &url, LIMITS).await.unwrap_err();
        assert_eq!(error.class(), "Tls", "{url} {error}");
    }
    assert_eq!(counts.all()[2], 0);
}
