//! Where requests go and where they never go.

use std::sync::atomic::Ordering;
use std::time::Instant;

use roadstead_reconcile::Targets;
use tokio::io::AsyncWriteExt;

use super::support::*;
use crate::guard::{Client, Error, Options, url};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_each_time() {
    let (address, connections) = raw("127.0.0.1:0", |mut stream| async move {
        let _ = stream.write_all(OK.as_bytes()).await;
    })
    .await;
    let here = address.ip().to_string();
    let names = Names::new(&[&[&here], &["10.0.0.1"], &[&here, "169.254.169.254"], &[&here]]);
    let (client, url) = (client_with(names, None), format!("http://rebinds.example:{}/", address.port()));
    assert_eq!(get(&client, &url, LIMITS).await.unwrap().status, 200);
    for _ in 0..2 {
        assert_eq!(get(&client, &url, LIMITS).await.unwrap_err(), Error::Forbidden);
    }
    assert_eq!(get(&client, &url, LIMITS).await.unwrap().status, 200);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_dialled_however_it_is_written() {
    let (address, connections) = raw("127.0.0.1:0", |_| async {}).await;
    let client = Client::new(Options::new(Targets::default())).unwrap();
    for host in ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let error = get(&client, &format!("http://{host}:{}/", address.port()), LIMITS).await.unwrap_err();
        assert_eq!(error, Error::Forbidden, "{host}");
        assert_eq!(error.to_string(), "the host is at an address that --allow-target does not allow");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_host_that_has_only_ipv6_is_reached() {
    let (address, _) = raw("[::1]:0", |mut stream| async move {
        let _ = stream.write_all(OK.as_bytes()).await;
    })
    .await;
    let client = client_with(Names::new(&[&["::1"]]), None);
    let answer = get(&client, &format!("http://six.example:{}/", address.port()), LIMITS).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(get(&client, &format!("http://[::1]:{}/", address.port()), LIMITS).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_dead_first_address_does_not_eat_the_deadline() {
    let (address, _) = raw("127.0.0.1:0", |mut stream| async move {
        let _ = stream.write_all(OK.as_bytes()).await;
    })
    .await;
    // Nobody listens at the first; nothing at all answers at the second, a range for documentation.
    let names = Names::new(&[&["127.0.0.2", "192.0.2.1", "127.0.0.1"]]);
    let targets = Targets::new(["127.0.0.0/8", "192.0.2.0/24"].map(|range| range.parse().unwrap()));
    let client = Client::with_resolver(Options::new(targets), names).unwrap();
    let started = Instant::now();
    let answer = get(&client, &format!("http://many.example:{}/", address.port()), LIMITS).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(started.elapsed() >= answer.elapsed);
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let client = client_with(Names::new(&[&[]]), None);
    assert_eq!(get(&client, "http://nobody.example/", LIMITS).await.unwrap_err(), Error::NoSuchHost);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(get(&client, &format!("http://{closed}/"), LIMITS).await.unwrap_err(), Error::Refused);
}

#[tokio::test]
async fn only_urls_that_say_where_to_go_are_taken() {
    for good in ["https://example.com", "http://10.0.0.1:8080/a?b=c", "https://[2001:db8::1]/"] {
        assert!(url(good).is_ok(), "{good}");
    }
    let client = client();
    for bad in
        ["", "/path", "ftp://example.com/", "https://user:pw@example.com/", "https://", "example.com", "file:///etc"]
    {
        assert!(matches!(url(bad), Err(Error::BadUrl(_))), "{bad}");
        if let Ok(uri) = bad.parse::<http::Uri>() {
            let request = http::Request::get(uri).body(bytes::Bytes::new()).unwrap();
            assert!(matches!(client.send(request, LIMITS).await, Err(Error::BadUrl(_))), "{bad}");
        }
    }
}
