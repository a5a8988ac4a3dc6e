//! Proxies behind TLS. The certificates of `certificates/` are self-signed and marked as authorities, as many that are
//! made by hand: for localhost, for another name, and for localhost in the year 2020.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Ended, patchbay, run};
use crate::support::{MASTER_KEY, TestApp};

fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/cli/certificates/{name}.pem"))
}

/// Ends TLS in front of a server; returns the port.
async fn tls_front(target: SocketAddr, certificate: &str) -> u16 {
    let path = pem(certificate);
    let chain = vec![CertificateDer::from_pem_file(&path).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&path).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((inner, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outer) = acceptor.accept(inner).await else { return };
                let mut target = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut target).await;
            });
        }
    });
    port
}

async fn models(proxy: &str, trusted: Option<&Path>) -> Ended {
    let mut command = patchbay(&["models"]);
    command.env("LITELLM_MASTER_KEY", MASTER_KEY).env("LITELLM_PROXY_URL", proxy);
    if let Some(file) = trusted {
        command.env("SSL_CERT_FILE", file);
    }
    run(command).await
}

#[tokio::test]
async fn self_signed_certificate_is_accepted_where_it_is_trusted() {
    let app = TestApp::start().await;
    let sandbox = app.sandbox.trim_start_matches("http://").parse().unwrap();
    let front = async |certificate| format!("https://localhost:{}", tls_front(sandbox, certificate).await);
    let well = front("authority").await;
    assert!(models(&well, Some(&pem("authority"))).await.good().contains("openai/gpt-5"));
    for (proxy, trusted, expected) in [
        (&well, None, "SSL_CERT_FILE"),
        (&well, Some("other-name"), "SSL_CERT_FILE"),
        (&front("other-name").await, Some("other-name"), "not valid for name"),
        (&front("expired").await, Some("expired"), "expired"),
    ] {
        let ended = models(proxy, trusted.map(pem).as_deref()).await;
        assert_ne!(ended.code, Some(0), "{proxy} {trusted:?}");
        assert!(ended.err.contains(expected), "{proxy} {trusted:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn unusable_file_of_certificates_is_named_and_does_not_concern_plain_http() {
    let app = TestApp::start().await;
    let sandbox = app.sandbox.trim_start_matches("http://").parse().unwrap();
    let tls = format!("https://localhost:{}", tls_front(sandbox, "authority").await);
    let no_pem = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    for (file, expected) in [
        (Path::new("/nonexistent"), "SSL_CERT_FILE names /nonexistent, which cannot be read"),
        (Path::new(""), "SSL_CERT_FILE is set and empty"),
        (&no_pem, "which holds no certificate"),
    ] {
        let ended = models(&tls, Some(file)).await;
        assert!(ended.code != Some(0) && ended.err.contains(expected), "{}: {}", file.display(), ended.err);
        assert!(models(&app.sandbox, Some(file)).await.good().contains("openai/gpt-5"), "{}", file.display());
    }
}
