//! Answers that are too long, too slow, broken, elsewhere, or no HTTP at all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::support::*;
use crate::guard::{Error, Limits, Oversize};

/// A server that answers 200 and then never ends.
async fn endless() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let (address, connections) = raw("127.0.0.1:0", |mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while stream.write_all(b"400\r\n").await.is_ok()
            && stream.write_all(&[b'x'; 0x400]).await.is_ok()
            && stream.write_all(b"\r\n").await.is_ok()
        {}
    })
    .await;
    (format!("http://{address}/"), connections)
}

#[tokio::test]
async fn an_endless_body_ends_at_the_cap_and_its_connection_is_dropped() {
    let (url, connections) = endless().await;
    let client = client();
    assert_eq!(get(&client, &url, LIMITS).await.unwrap_err(), Error::TooLarge(1024));
    let answer = get(&client, &url, Limits { on_oversize: Oversize::Truncate, ..LIMITS }).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len(), answer.truncated), (200, 1024, true));
    assert_eq!(connections.load(Ordering::SeqCst), 2, "what is left of an answer must not be read by the next");
}

#[tokio::test]
async fn a_body_of_just_the_cap_is_whole() {
    let url = saying("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour").await;
    for (max_body, expected) in [(4, Ok(4)), (5, Ok(4)), (3, Err(Error::TooLarge(3))), (0, Err(Error::TooLarge(0)))] {
        let answer = get(&client(), &url, Limits { max_body, ..LIMITS }).await;
        assert_eq!(answer.map(|answer| answer.body.len()), expected, "{max_body}");
    }
}

#[tokio::test]
async fn a_slow_answer_meets_the_deadline() {
    let (silent, _) = raw("127.0.0.1:0", |stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let (slow, _) = raw("127.0.0.1:0", |mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\nfirst").await;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = Limits { deadline: Duration::from_millis(200), ..LIMITS };
    assert_eq!(get(&client(), &format!("http://{silent}/"), limits).await.unwrap_err(), Error::Timeout);
    assert_eq!(get(&client(), &format!("http://{slow}/"), limits).await.unwrap_err(), Error::Timeout);
    // Where the status is all that counts, it counts.
    let answer = get(&client(), &format!("http://{slow}/"), Limits { on_oversize: Oversize::Truncate, ..limits }).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..], answer.truncated), (202, &b"first"[..], true));
}

#[tokio::test]
async fn a_handshake_that_never_comes_meets_its_own_deadline() {
    let (address, _) = raw("127.0.0.1:0", |stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let options = crate::guard::Options {
        connect_timeout: Duration::from_millis(100),
        ..crate::guard::Options::new(roadstead_reconcile::Targets::with_loopback())
    };
    let client = crate::guard::Client::new(options).unwrap();
    assert_eq!(get(&client, &format!("https://{address}/"), LIMITS).await.unwrap_err(), Error::Timeout);
}

#[tokio::test]
async fn broken_answers_are_told_by_their_class() {
    for (said, expected) in [
        ("", Error::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-le", Error::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", Error::Reset),
        ("SSH-2.0-OpenSSH_9.9\r\n", Error::Protocol),
    ] {
        let url = saying(said).await;
        assert_eq!(get(&client(), &url, LIMITS).await.unwrap_err(), expected, "{said:?}");
    }
    // A reset in place of an answer.
    let (address, _) = raw("127.0.0.1:0", |stream| async move {
        #[expect(deprecated, reason = "a linger of zero does not block: it is what makes the reset")]
        let _ = stream.set_linger(Some(Duration::ZERO));
    })
    .await;
    assert_eq!(get(&client(), &format!("http://{address}/"), LIMITS).await.unwrap_err(), Error::Reset);
}

#[tokio::test]
async fn a_head_has_a_cap_too() {
    let (address, _) = raw("127.0.0.1:0", |mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(format!("x-more: {}\r\n", "y".repeat(1000)).as_bytes()).await.is_ok() {}
    })
    .await;
    assert_eq!(get(&client(), &format!("http://{address}/"), LIMITS).await.unwrap_err(), Error::Protocol);
}

#[tokio::test]
async fn redirects_are_answers() {
    let (target, connections) = raw("127.0.0.1:0", |_| async {}).await;
    for status in [301, 302, 303, 307, 308] {
        let (address, _) = raw("127.0.0.1:0", move |mut stream| async move {
            let head = format!("HTTP/1.1 {status} Moved\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
        })
        .await;
        let answer = get(&client(), &format!("http://{address}/"), LIMITS).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}
